module kwdbstandin

go 1.26.8
