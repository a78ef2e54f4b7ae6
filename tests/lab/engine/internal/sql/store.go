// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"bytes"
	"context"
	"errors"
	"time"

	"kwdbstandin/internal/kv"
)

// pause between two tries at a range without quorum: the real engine waits, it does not fail.
const retryPause = 100 * time.Millisecond

// readRange waits for a quorum as long as ctx lets it. gone, if any, is asked meanwhile whether the range was dropped.
func readRange(ctx context.Context, store kv.Store, id kv.RangeID, since uint64, gone func(context.Context) error) (kv.Delta, error) {
	for {
		d, err := store.Read(ctx, id, since)
		if !errors.Is(err, kv.ErrUnavailable) {
			return d, err
		}
		if gone != nil {
			if err := gone(ctx); err != nil {
				return kv.Delta{}, err
			}
		}
		if err := sleep(ctx, retryPause); err != nil {
			return kv.Delta{}, err
		}
	}
}

// commitRange commits writes that all carry an Expect. When the store cannot tell whether they went through, it finds out by reading:
// present as written means committed; still the expected versions means not (and a late twin can no longer apply beside a second try);
// anything else stays ambiguous and is said so.
func commitRange(ctx context.Context, store kv.Store, id kv.RangeID, writes []kv.Write, gone func(context.Context) error) error {
	for {
		_, err := store.Commit(ctx, id, writes)
		if !errors.Is(err, kv.ErrUnavailable) {
			return err
		}
		if err := sleep(ctx, retryPause); err != nil {
			return err
		}
		d, err := readRange(ctx, store, id, 0, gone)
		if err != nil {
			return err
		}
		now := make(map[string]kv.Entry, len(d.Entries))
		for _, e := range d.Entries {
			now[e.Key] = e
		}
		applied, untouched := true, true
		for _, w := range writes {
			e := now[w.Key]
			if e.Value == nil {
				e.Version = 0 // a deletion's own version is not kept by every store
			}
			applied = applied && (w.Value == nil) == (e.Value == nil) && bytes.Equal(e.Value, w.Value) && (w.Value == nil || e.Version != w.Expect)
			untouched = untouched && e.Version == w.Expect
		}
		switch {
		case applied:
			return nil
		case !untouched:
			return errAmbiguous
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
