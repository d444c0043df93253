package storesuite

import (
	"context"
	"database/sql"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store"
	"github.com/peerload/peerload/internal/controller/webhook"
)

// written are rows as a program of each version wrote them, by the version of
// the database that brought their tables.
var written = map[int64][]string{
	1: {
		`INSERT INTO profiles (id, version, doc, search) VALUES ('offices', 3, '{"version":3,"name":"offices","settings":{"peer-sharing":"on"}}', 'offices')`,
		`INSERT INTO devices (id, version, doc, model, profile, site, origin, assigned, search) VALUES ('SEP001122334455', 2,
			'{"version":2,"name":"SEP001122334455","model":"CP-7961G","profile":"offices","load":{"load":"L"}}', 'CP-7961G', 'offices', '', '', 'L', 'sep001122334455')`,
		`INSERT INTO enterprises (id, version, doc) VALUES ('enterprise', 5, '{"version":5,"auto_registration":true}')`,
		`INSERT INTO models (id, version, doc) VALUES ('CP-7961G', 1, '{"version":1,"name":"CP-7961G","load":{"load":"L"}}')`,
		`INSERT INTO loads (id, version, doc, retired, search) VALUES ('L', 1, '{"version":1,"name":"L","models":["CP-7961G"],"signed":true}', 0, 'l')`,
	},
	2: {
		`INSERT INTO states (id, version, doc, state, active, role, last_seen) VALUES ('SEP001122334455', 9,
			'{"version":9,"device":"SEP001122334455","last":{"state":"rolled-back","wanted":"W"},"traffic":{"from_origin":5000000007,"from_peers":3}}', 'rolled-back', 'L', '', 7)`,
		`INSERT INTO history (id, version, doc, at, subject, kind) VALUES ('1', 1, '{"id":"1","device":"SEP001122334455","kind":"state"}', 7, 'SEP001122334455', 'state')`,
		`INSERT INTO audit (id, version, doc, at, subject, action, target) VALUES ('1', 1, '{"id":"1","actor":"ann","action":"login"}', 7, 'ann', 'login', 'user ann')`,
	},
	3: {
		`INSERT INTO accounts (id, version, doc, search) VALUES ('ann', 1, '{"version":1,"name":"ann","role":"admin","password_hash":"x"}', 'ann')`,
		`INSERT INTO credentials (id, version, doc, kind, subject, hash, ends) VALUES ('c', 1, '{"version":1,"id":"c","kind":"token","subject":"ann","hash":"h"}', 'token', 'ann', 'h', 0)`,
		`INSERT INTO throttles (id, version, doc) VALUES ('t', 1, '{"version":1,"name":"t","failures":2}')`,
		// Labels of sites, as migration 4 finds them.
		`INSERT INTO devices (id, version, doc, model, site, origin, assigned, search) VALUES ('SEP000000000001', 1,
			'{"version":1,"created":"2026-03-04T05:06:07Z","name":"SEP000000000001","site":"Kyoto"}', '', 'Kyoto', '', '', '')`,
		`INSERT INTO devices (id, version, doc, model, site, origin, assigned, search) VALUES ('SEP000000000002', 1,
			'{"version":1,"created":"2026-01-04T05:06:07Z","name":"SEP000000000002","site":"Kyoto"}', '', 'Kyoto', '', '', '')`,
		`INSERT INTO devices (id, version, doc, model, site, origin, assigned, search) VALUES ('SEP000000000003', 1,
			'{"version":1,"name":"SEP000000000003","site":"a/b \"c\" \\ 京都"}', '', 'a/b "c" \ 京都', '', '', '')`,
		`INSERT INTO credentials (id, version, doc, kind, subject, hash, ends) VALUES ('k', 1,
			'{"version":1,"id":"k","kind":"site-key","hash":"k","site":"Osaka"}', 'site-key', '', 'k', 0)`,
	},
	4: {
		`INSERT INTO sites (id, version, doc, search) VALUES ('Nara', 2, '{"version":2,"name":"Nara","networks":["10.9.0.0/16"]}', 'nara')`,
	},
	5: {
		`INSERT INTO releases (id, version, doc, search) VALUES ('9.4(2)', 1, '{"version":1,"name":"9.4(2)","loads":["L"]}', '9.4(2)')`,
		`INSERT INTO devices (id, version, doc, model, site, origin, assigned, assigned_release, search) VALUES ('SEP000000000005', 1,
			'{"version":1,"name":"SEP000000000005","load":{"load":"","release":"9.4(2)"}}', '', '', '', '', '9.4(2)', '')`,
	},
	6: {
		`INSERT INTO audit (id, version, doc, at, subject, action, target, part_of) VALUES ('2', 1, '{"id":"2","actor":"bob","part_of":"1"}', 7, 'bob', 'x', 'y', '1')`,
	},
	7: {
		`INSERT INTO rollouts (id, version, doc, state, active) VALUES ('r', 4, '{"version":4,"record":{"id":"r","state":"running"}}', 'running', 1)`,
		`INSERT INTO rollout_devices (id, version, doc, rollout, device, site, wave, standing, tries, first_at, due) VALUES ('r/SEP001122334455', 2,
			'{"version":2,"rollout":"r","row":{"device":"SEP001122334455","standing":"granted","try":1}}', 'r', 'SEP001122334455', 'Nara', 0, 'granted', 1, 7, 0)`,
		`INSERT INTO verdicts (id, version, doc, device, load, reason, at) VALUES ('SEP001122334455/L', 1,
			'{"version":1,"device":"SEP001122334455","load":"L","reason":"not-confirmed"}', 'SEP001122334455', 'L', 'not-confirmed', 7)`,
	},
	8: {
		`INSERT INTO sent_orders (id, version, doc, kind, expires, cancelled) VALUES ('o', 1, '{"version":1,"id":"o","kind":"retry"}', 'retry', 9, 0)`,
		`INSERT INTO order_devices (id, version, doc, sent_order, device, site, standing) VALUES ('o/SEP001122334455', 1,
			'{"version":1,"order":"o","device":"SEP001122334455","standing":"waiting"}', 'o', 'SEP001122334455', '', 'waiting')`,
	},
	9: {
		`INSERT INTO jobs (id, version, doc, state, due) VALUES ('j', 3, '{"version":3,"id":"j","state":"running"}', 'running', 1)`,
		`INSERT INTO job_steps (id, version, doc, job) VALUES ('j/000000', 1,
			'{"version":1,"job":"j","n":0,"rows":[]}', 'j')`,
		`INSERT INTO templates (id, version, doc, search) VALUES ('t', 1, '{"version":1,"name":"t"}', 't')`,
	},
	10: {
		`INSERT INTO file_sets (id, version, doc, retired, search) VALUES ('s', 1,
			'{"version":1,"name":"s","release":"1","models":[],"size":0,"components":null,"signed":true,"retired":false,
			"directory":"locale"}', 0, 's locale')`,
	},
	11: {
		`INSERT INTO savings (id, version, doc, month, site, load) VALUES ('2026-03/"L"/Nara', 1,
			'{"version":1,"month":"2026-03","site":"Nara","load":"L"}', '2026-03', 'Nara', 'L')`,
	},
	12: {
		`INSERT INTO webhooks (id, version, doc) VALUES ('chat', 1, '{"version":1,"name":"chat","url":"https://h/"}')`,
		`INSERT INTO deliveries (id, version, doc, webhook, state) VALUES ('m', 1,
			'{"version":1,"id":"m","webhook":"chat","state":"dead"}', 'chat', 'dead')`,
	},
	13: {
		`INSERT INTO tallies (scope, site, model, profile, assigned, assigned_release, state, active, role, n, from_origin_hi,
			from_origin_lo, from_peers_hi, from_peers_lo, from_cache_hi, from_cache_lo, to_peers_hi, to_peers_lo) VALUES (1, '',
			'CP-7961G', 'offices', 'L', '', 'idle', 'L', '', 1, 0, 0, 0, 0, 0, 0, 0, 0)`,
	},
	14: {}, // brings indices only
	15: {}, // likewise
	16: {}, // likewise
}

// Migrations runs over every version that a database may be of: a database of
// that version, with rows in all its tables, comes step by step to the newest
// one and keeps every row. empty returns an empty database, and open takes it
// over as a store.
func Migrations(t *testing.T, name string, empty func(t *testing.T) *sql.DB, open func(db *sql.DB) domain.Store) {
	newest := newestVersion(t, name, empty(t))
	if int64(len(written)) != newest {
		t.Fatalf("there are %d versions and rows of %d: say what a program of the newest version writes", newest,
			len(written))
	}
	for from := int64(1); from <= newest; from++ {
		db := empty(t)
		if err := store.Migrate(t.Context(), name, db, from); err != nil {
			t.Fatal(err)
		}
		for v := int64(1); v <= from; v++ {
			for _, row := range written[v] {
				if _, err := db.ExecContext(t.Context(), row); err != nil {
					t.Fatalf("at version %d: %s: %v", from, row, err)
				}
			}
		}
		for v := from + 1; v <= newest; v++ {
			if err := store.Migrate(t.Context(), name, db, v); err != nil {
				t.Fatalf("from %d to %d: %v", from, v, err)
			}
		}
		if err := store.Migrate(t.Context(), name, db, 0); err != nil {
			t.Fatalf("the newest again: %v", err)
		}
		survived(t, open(db), from)
	}
}

// survived reads what a database of that version held.
func survived(t *testing.T, s domain.Store, from int64) {
	t.Helper()
	defer s.Close()
	expect := func(what string, got, want []string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("from version %d: %s are %v, not %v", from, what, got, want)
		}
	}
	since := func(v int64, key string) []string {
		if from < v {
			return []string{}
		}
		return []string{key}
	}
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		expect("devices", keys(t, ctx, tx.Devices(), domain.DeviceFilter{Profile: "offices", Load: "L"}),
			since(1, "SEP001122334455"))
		expect("models", keys(t, ctx, tx.Models(), domain.None{}), since(1, "CP-7961G"))
		expect("loads", keys(t, ctx, tx.Loads(), domain.LoadFilter{}), since(1, "L"))
		expect("states", keys(t, ctx, tx.States(), domain.StateFilter{Active: "L"}), since(2, "SEP001122334455"))
		if from < 11 { // it is found by what its state has said all along
			expect("failed", keys(t, ctx, tx.Devices(), domain.DeviceFilter{Failed: true, About: "W"}),
				since(2, "SEP001122334455"))
		}
		expect("savings", keys(t, ctx, tx.Savings(), domain.SavingFilter{Site: "Nara"}), since(11, `2026-03/"L"/Nara`))
		expect("webhooks", keys(t, ctx, tx.Webhooks(), domain.None{}), since(12, "chat"))
		expect("messages", keys(t, ctx, tx.Deliveries(), domain.DeliveryFilter{Webhook: "chat", State: webhook.Dead}),
			since(12, "m"))
		expect("history", keys(t, ctx, tx.History(), domain.HistoryFilter{Device: "SEP001122334455"}), since(2, "1"))
		expect("audit", keys(t, ctx, tx.Audit(), domain.AuditFilter{Actor: "ann"}), since(2, "1"))
		expect("parts", keys(t, ctx, tx.Audit(), domain.AuditFilter{PartOf: "1"}), since(6, "2"))
		expect("accounts", keys(t, ctx, tx.Accounts(), domain.TextFilter{}), since(3, "ann"))
		expect("credentials", keys(t, ctx, tx.Credentials(), domain.CredentialFilter{Hashes: []string{"h"}}), since(3, "c"))
		expect("releases", keys(t, ctx, tx.Releases(), domain.TextFilter{}), since(5, "9.4(2)"))
		expect("jobs", keys(t, ctx, tx.Jobs(), domain.JobFilter{State: domain.JobRunning}), since(9, "j"))
		expect("steps", keys(t, ctx, tx.JobSteps(), domain.JobStepFilter{Job: "j"}), since(9, "j/000000"))
		expect("templates", keys(t, ctx, tx.Templates(), domain.TextFilter{}), since(9, "t"))
		expect("file sets", keys(t, ctx, tx.FileSets(), domain.LoadFilter{Text: "locale"}), since(10, "s"))
		expect("released", keys(t, ctx, tx.Devices(), domain.DeviceFilter{Release: "9.4(2)"}), since(5, "SEP000000000005"))
		expect("sites", keys(t, ctx, tx.Sites(), domain.TextFilter{Text: "nara"}), since(4, "Nara"))
		if from == 3 { // those of before became sites, with their devices; later programs have written both
			expect("labels", keys(t, ctx, tx.Sites(), domain.TextFilter{}), []string{"Kyoto", "Osaka", `a/b "c" \ 京都`})
			expect("Kyoto", keys(t, ctx, tx.Devices(), domain.DeviceFilter{Site: "Kyoto"}),
				[]string{"SEP000000000001", "SEP000000000002"})
			kyoto, err := tx.Sites().Get(ctx, "Kyoto")
			if err != nil || kyoto.Version != 1 || kyoto.Created.Format(time.DateOnly) != "2026-01-04" {
				t.Errorf("Kyoto became %+v, %v", kyoto, err)
			}
		}
		expect("throttles", keys(t, ctx, tx.Throttles(), domain.None{}), since(3, "t"))
		expect("rollouts", keys(t, ctx, tx.Rollouts(), domain.RolloutFilter{State: "running", Active: true}), since(7, "r"))
		expect("devices of rollouts", keys(t, ctx, tx.RolloutDevices(), domain.RolloutDeviceFilter{Rollout: "r",
			Site: "Nara", Standing: "granted"}), since(7, "r/SEP001122334455"))
		expect("verdicts", keys(t, ctx, tx.Verdicts(), domain.VerdictFilter{Device: "SEP001122334455", Load: "L"}),
			since(7, "SEP001122334455/L"))
		expect("orders", keys(t, ctx, tx.SentOrders(), domain.SentOrderFilter{Kind: "retry"}), since(8, "o"))
		expect("devices of orders", keys(t, ctx, tx.OrderDevices(), domain.OrderDeviceFilter{Standing: "waiting"}),
			since(8, "o/SEP001122334455"))
		e, err := tx.Enterprises().Get(ctx, domain.Enterprise{}.Key())
		if err != nil || e.Version != 5 || !e.AutoRegistration {
			t.Errorf("from version %d: the enterprise is %+v, %v", from, e, err)
		}
		p, err := tx.Profiles().Get(ctx, "offices")
		if p.Settings["peer-sharing"] != "on" || p.Version != 3 {
			t.Errorf("from version %d: the profile is %+v, %v", from, p, err)
		}
		return err
	})
	// The newest program can go on from there. What counts it finds counted.
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		if mended, err := tx.Tallies().Recount(ctx); err != nil || from < 13 && mended != 0 {
			t.Errorf("from version %d: %d tallies are wrong, %v", from, mended, err)
		}
		d, err := tx.Devices().Get(ctx, "SEP001122334455")
		if err != nil {
			return err
		}
		return tx.Devices().Put(ctx, &d)
	})
}

// newestVersion is the version to which an empty database is brought.
func newestVersion(t *testing.T, name string, db *sql.DB) (newest int64) {
	t.Helper()
	if err := store.Migrate(t.Context(), name, db, 0); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRowContext(t.Context(), `SELECT max(version_id) FROM goose_db_version`).Scan(&newest); err != nil {
		t.Fatal(err)
	}
	return newest
}
