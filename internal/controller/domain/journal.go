package domain

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// journal collects the audit entries of one transaction.
type journal struct{ entries []AuditEntry }

// note adds an entry with the fields in which two states of a thing differ; nil
// means a thing that does not exist. A write that changes nothing adds no
// entry.
func (j *journal) note(action, target string, before, after any) {
	if changes := diff(before, after); len(changes) > 0 {
		j.entries = append(j.entries, AuditEntry{Action: action, Target: target, Changes: changes})
	}
}

// event adds an entry about something that has no fields.
func (j *journal) event(action, target string) {
	j.entries = append(j.entries, AuditEntry{Action: action, Target: target})
}

// unaudited are fields of no interest, or secret ones.
var unaudited = []string{"version", "created", "changed", "password_hash", "hash", "last_used", "last_login"}

// diff returns the fields in which the JSON forms of two things differ, in
// the order of their names.
func diff(before, after any) []FieldChange {
	was, is := fields(before), fields(after)
	names := make([]string, 0, len(was)+len(is))
	for n := range was {
		names = append(names, n)
	}
	for n := range is {
		if _, ok := was[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	var changes []FieldChange
	for _, n := range names {
		o, hadOld := was[n]
		v, hasNew := is[n]
		if hadOld == hasNew && o == v {
			continue
		}
		f := FieldChange{Field: n}
		if hadOld {
			f.Old = &o
		}
		if hasNew {
			f.New = &v
		}
		changes = append(changes, f)
	}
	return changes
}

// fields flattens a thing: settings.peer-sharing → on. Empty values are left
// out.
func fields(v any) map[string]string {
	flat := make(map[string]string)
	if v == nil {
		return flat
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("domain: %T has no JSON form: %v", v, err)) // our own types have one
	}
	var m map[string]any
	if json.Unmarshal(b, &m) == nil {
		flatten(flat, "", m)
	}
	return flat
}

func flatten(flat map[string]string, prefix string, m map[string]any) {
	for k, v := range m {
		if prefix == "" && slices.Contains(unaudited, k) {
			continue
		}
		switch v := v.(type) {
		case nil:
		case map[string]any:
			flatten(flat, prefix+k+".", v)
		case string:
			// "" is a value of a setting; of any other field it means none.
			if v != "" || strings.HasPrefix(prefix, "settings.") {
				flat[prefix+k] = v
			}
		case bool:
			if v {
				flat[prefix+k] = "true"
			}
		default:
			b, _ := json.Marshal(v)
			if s := string(b); s != "0" && s != "[]" {
				flat[prefix+k] = s
			}
		}
	}
}

// Audit returns entries of the audit log, the latest first.
func (c *Controller) Audit(ctx context.Context, a Actor, f AuditFilter, p Page) (l List[AuditEntry], err error) {
	if err := a.may(mayAudit); err != nil {
		return l, err
	}
	err = c.view(ctx, func(tx Tx) error {
		if err := checkSite(ctx, tx, f.Site); err != nil {
			return err
		}
		l, err = tx.Audit().List(ctx, f, p)
		return err
	})
	return l, err
}

// Pruned says what Prune has removed.
type Pruned struct {
	History, Audit, Credentials int64
}

// Prune removes entries that are older than they are kept, and what has
// expired. The server calls it regularly.
func (c *Controller) Prune(ctx context.Context) (n Pruned, err error) {
	now := c.now()
	err = c.store.Update(ctx, func(tx Tx) error {
		n = Pruned{}
		if n.History, err = tx.History().Trim(ctx, now.Add(-c.cfg.HistoryLife)); err != nil {
			return err
		}
		if n.Audit, err = tx.Audit().Trim(ctx, now.Add(-c.cfg.AuditLife)); err != nil {
			return err
		}
		expired, err := collect(ctx, tx.Credentials(), CredentialFilter{ExpiredBy: now})
		if err != nil {
			return err
		}
		for _, e := range expired {
			if err := tx.Credentials().Delete(ctx, e.ID, 0); err != nil {
				return err
			}
			n.Credentials++
		}
		return c.forgetThrottles(ctx, tx, now)
	})
	return n, err
}

// forgetThrottles removes counts without a failure for a day.
func (c *Controller) forgetThrottles(ctx context.Context, tx Tx, now time.Time) error {
	all, err := collect(ctx, tx.Throttles(), None{})
	if err != nil {
		return err
	}
	for _, t := range all {
		if t.Changed.Before(now.Add(-throttleMemory)) {
			if err := tx.Throttles().Delete(ctx, t.Name, 0); err != nil {
				return err
			}
		}
	}
	return nil
}
