# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
#
#   make test                       everything, as continuous integration runs it (.ci/run); ends with its counts
#   make demo                       the article's whole job on the kind cluster
#   make faults                     kills, misoperations and faults in every row, under a workload; ends with its figures (about three hours on two cores)
#   make thorough                   every test of what the modules do on the cluster, also those too long for make test (about forty minutes)
#   make molecule SCENARIO=deploy   one scenario; without SCENARIO all of them
#   make lab-up / lab-images        the kind cluster / the database's images in it
#   make lint | typing | units | sanity | engine | conformance | careless | faults-quick | modules | behaviour | behaviour-nodes | harness
#   make install                    the collection from its tarball into .lab/collections
#   make clean                      removes cluster, images, containers, an engine the lab started, and .lab
#
# KAIWUDB_IMAGE and KAIWUDB_UPGRADE_IMAGE run demo and scenarios on the real product. See tests/lab/kind/lib.sh for the
# lab's own variables (KAIWUDB_LAB_ADOPT, KAIWUDB_LAB_NO_DOCKER, KAIWUDB_LAB_CLUSTER, KAIWUDB_LAB_NODE_IMAGE).

SCENARIO ?= local_pv deploy article_bini sql scale upgrade remove fleet prepare_ssh volume_policy placement replace_node maintain_node
run = tests/lab/env/run
stages = lint typing units units-newer sanity sanity-newer engine conformance careless modules modules-newer behaviour behaviour-nodes harness

.PHONY: test demo thorough faults faults-quick molecule lab-up lab-images install clean $(stages)
.DEFAULT_GOAL := test
.NOTPARALLEL:

test:
	@$(run) all

$(stages):
	@$(run) $@

molecule: lab-up lab-images install
	@$(run) $(addprefix molecule-,$(SCENARIO))

demo: lab-up lab-images install
	@$(run) demo

thorough: lab-up lab-images install
	@$(run) thorough thorough-nodes

faults: lab-up lab-images install
	@$(run) faults-all

faults-quick: lab-up lab-images install
	@$(run) faults

lab-up:
	@tests/lab/kind/up

lab-images:
	@$(run) lab-images

install:
	@$(run) install

clean:
	@tests/lab/kind/down
