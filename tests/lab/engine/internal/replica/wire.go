// SPDX-License-Identifier: GPL-3.0-or-later

package replica

import (
	"encoding/binary"

	"kwdbstandin/internal/kv"
)

// EncodeWrites and the functions below carry writes and deltas between nodes. (gob would not tell an empty value from
// a deleted one.)
func EncodeWrites(writes []kv.Write) []byte { return command{writes: writes}.encode() }

// DecodeWrites is the inverse of EncodeWrites.
func DecodeWrites(b []byte) ([]kv.Write, error) {
	c, err := decodeCommand(b)
	return c.writes, err
}

// EncodeDelta packs a delta.
func EncodeDelta(d kv.Delta) []byte {
	b := binary.BigEndian.AppendUint64(nil, d.Version)
	full := byte(0)
	if d.Full {
		full = 1
	}
	b = append(b, full)
	b = binary.AppendUvarint(b, uint64(len(d.Entries)))
	for _, e := range d.Entries {
		b = appendBytes(b, []byte(e.Key))
		b = binary.AppendUvarint(b, e.Version)
		if e.Value == nil {
			b = append(b, 0)
			continue
		}
		b = appendBytes(append(b, 1), e.Value)
	}
	return b
}

// DecodeDelta is the inverse of EncodeDelta.
func DecodeDelta(b []byte) (kv.Delta, error) {
	r := reader{b: b}
	d := kv.Delta{Version: r.uint64(), Full: r.byte() == 1}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		e := kv.Entry{Key: string(r.bytes()), Version: r.uvarint()}
		if r.byte() == 1 {
			e.Value = append([]byte{}, r.bytes()...)
		}
		d.Entries = append(d.Entries, e)
	}
	if r.bad {
		return kv.Delta{}, errCorrupt
	}
	return d, nil
}
