// SPDX-License-Identifier: GPL-3.0-or-later

package replica

import (
	"bytes"
	"reflect"
	"testing"

	"kwdbstandin/internal/kv"
)

func TestCommandSurvivesItsEncoding(t *testing.T) {
	in := command{id: 7, writes: []kv.Write{
		{Key: "a", Value: []byte{}, Expect: 0},
		{Key: "", Value: nil, Expect: 12},
		{Key: "c\x00", Value: []byte("x"), Expect: kv.Any},
	}}
	out, err := decodeCommand(in.encode())
	if err != nil || !reflect.DeepEqual(in, out) {
		t.Fatalf("got %+v, %v", out, err)
	}
	if _, err := decodeCommand(in.encode()[:12]); err == nil {
		t.Fatal("a cut command was accepted")
	}
}

func TestApplyChecksVersionsAndAppliesOnce(t *testing.T) {
	s := newState()
	put := func(index, id uint64, key, value string, expect uint64) result {
		res, _ := s.apply(index, command{id: id, writes: []kv.Write{{Key: key, Value: []byte(value), Expect: expect}}})
		return res
	}
	if r := put(11, 1, "a", "one", 0); r.conflict || r.version != 11 {
		t.Fatalf("first write: %+v", r)
	}
	if r := put(12, 2, "a", "two", 0); !r.conflict {
		t.Fatal("a key that exists was written as new")
	}
	if r := put(13, 3, "a", "two", 11); r.conflict {
		t.Fatalf("matching version refused: %+v", r)
	}
	if r := put(14, 1, "a", "again", 0); r.conflict || r.version != 11 || string(s.values["a"].data) != "two" {
		t.Fatalf("a repeated proposal was applied twice: %+v %q", r, s.values["a"].data)
	}
	atomic := command{id: 4, writes: []kv.Write{
		{Key: "b", Value: []byte("new"), Expect: 0}, {Key: "a", Value: nil, Expect: 99}}}
	if r, _ := s.apply(15, atomic); !r.conflict {
		t.Fatal("a failed expectation did not stop the command")
	}
	if _, there := s.values["b"]; there {
		t.Fatal("half of a refused command was applied")
	}
}

func TestDeltaIsWhatChanged(t *testing.T) {
	s := newState()
	s.applied = 10
	write := func(index uint64, writes ...kv.Write) { s.apply(index, command{id: index, writes: writes}) }
	write(11, kv.Write{Key: "a", Value: []byte("1"), Expect: kv.Any}, kv.Write{Key: "b", Value: []byte("1"), Expect: kv.Any})
	write(12, kv.Write{Key: "a", Value: []byte("2"), Expect: kv.Any})
	write(13, kv.Write{Key: "b", Value: nil, Expect: kv.Any})
	d := s.delta(11)
	got := map[string]string{}
	for _, e := range d.Entries {
		got[e.Key] = string(e.Value)
		if e.Key == "b" && e.Value != nil {
			t.Fatal("a deleted key has a value")
		}
	}
	if d.Full || d.Version != 13 || len(got) != 2 || got["a"] != "2" {
		t.Fatalf("delta %+v", d)
	}
	if full := s.delta(0); !full.Full || len(full.Entries) != 1 {
		t.Fatalf("full %+v", full)
	}
	copied, err := decodeState(s.encode())
	if err != nil || copied.applied != 13 || !reflect.DeepEqual(copied.values, s.values) || copied.bytes != s.bytes {
		t.Fatalf("snapshot: %v %+v", err, copied)
	}
	if !copied.delta(11).Full {
		t.Fatal("a replica filled by a snapshot does not know the changes before it")
	}
	back, err := DecodeDelta(EncodeDelta(kv.Delta{Version: 3, Full: true,
		Entries: []kv.Entry{{Key: "e", Value: []byte{}, Version: 2}, {Key: "d", Version: 3}}}))
	if err != nil || back.Entries[0].Value == nil || back.Entries[1].Value != nil || !bytes.Equal(back.Entries[0].Value, nil) {
		t.Fatalf("wire: %v %+v", err, back)
	}
}
