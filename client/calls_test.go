package client_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/peerload/peerload/client"
)

const (
	anyName = "a/b ü?" // of everything: it must be escaped
	moment  = "2026-01-02T03:04:05Z"
)

// conn is a client of the API that is held against the document.
type conn = *client.Client

// call calls one operation, with arguments that are filled or zero, and returns
// what the client makes of the answer, nil if there is none.
type call func(ctx context.Context, c conn, filled bool) (any, error)

// calls are all operations that the client covers, by their ids.
func calls() map[string]call {
	text := client.Filter{Text: "t"}
	device := client.Filter{Text: "t", Model: "m", Profile: "p", NoProfile: true, Site: "s", Registration: "enrolled",
		Load: "l", Release: "r", State: "s", Active: "a", Failed: true, About: "b",
		Silent: time.Hour}
	all := map[string]call{}
	for _, of := range []map[string]call{
		collection("device", func(c conn) client.Collection[client.Device, client.DeviceChange] { return c.Devices }, device),
		collection("profile", func(c conn) client.Collection[client.Profile, client.ProfileChange] { return c.Profiles },
			text),
		collection("release", func(c conn) client.Collection[client.Release, client.ReleaseChange] { return c.Releases },
			text),
		collection("site", func(c conn) client.Collection[client.Site, client.SiteChange] { return c.Sites },
			client.Filter{Text: "t", Silent: time.Hour}),
		collection("user", func(c conn) client.Collection[client.User, client.UserChange] { return c.Users }, text),
		set("token", func(c conn) client.Set[client.Token, client.NewToken] { return c.Tokens }, client.Filter{User: "u"}, 2),
		set("enrolment", func(c conn) client.Set[client.Enrolment, client.NewEnrolment] { return c.Enrolments },
			client.Filter{Site: "s"}, 1),
		set("webhook", func(c conn) client.Set[client.Webhook, client.NewWebhook] { return c.Webhooks }, client.Filter{}, 2),
		level("enterprise", ""), level("model", anyName), level("profile", anyName), level("device", anyName),
		loads(), models(), devices(), journals(), signIns(), sentOrders(), rolloutCalls(),
		bulkJobs(),
	} {
		maps.Copy(all, of)
	}
	return all
}

// loads are the operations of loads, and of the repository's keys.
func loads() map[string]call {
	return map[string]call{
		"list-loads": lists(func(c conn) client.Lister[client.Load] { return c.Loads },
			client.Filter{Text: "t", Retired: true}, 2),
		"reach-of-load": func(ctx context.Context, c conn, _ bool) (any, error) { return c.Reach(ctx, anyName) },
		"get-load":      func(ctx context.Context, c conn, _ bool) (any, error) { return c.Load(ctx, anyName) },
		"add-load": func(ctx context.Context, c conn, _ bool) (any, error) {
			return c.AddLoad(ctx, client.NewLoad{Name: "n", Version: "1", Models: []string{"m"}, From: []string{"0"},
				Files: []string{"doc.go"}})
		},
		"list-filesets": lists(func(c conn) client.Lister[client.FileSet] { return c.FileSets },
			client.Filter{Text: "t", Retired: true}, 2),
		"get-fileset": func(ctx context.Context, c conn, _ bool) (any, error) { return c.FileSet(ctx, anyName) },
		"add-fileset": func(ctx context.Context, c conn, _ bool) (any, error) {
			return c.AddFileSet(ctx, "d", client.NewLoad{Name: "n", Version: "1", Models: []string{"m"},
				From: []string{"0"}, Files: []string{"doc.go"}})
		},
		"retire-fileset": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.RetireFileSet(ctx, anyName, true, version(filled))
		},
		"change-device-filesets":     changesSets("device", anyName),
		"change-profile-filesets":    changesSets("profile", anyName),
		"change-enterprise-filesets": changesSets("enterprise", ""),
		"set-load-from": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.SetLoadFrom(ctx, anyName, arg[[]string](filled), version(filled))
		},
		"register-load": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.RegisterLoad(ctx, anyName, arg[[]string](filled), arg[[]string](filled))
		},
		"retire-load": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.RetireLoad(ctx, anyName, true, version(filled))
		},
		"verify-loads": func(ctx context.Context, c conn, _ bool) (any, error) {
			loads, problem, err := c.VerifyLoads(ctx)
			return struct {
				Problem string               `json:"problem"`
				Loads   []client.CheckedLoad `json:"loads"`
			}{problem, loads}, err
		},
		"get-root": func(ctx context.Context, c conn, _ bool) (any, error) {
			raw, v, err := c.Root(ctx)
			return struct {
				Version int64  `json:"version"`
				Root    []byte `json:"root"`
			}{v, raw}, err
		},
		"rotate-key": func(ctx context.Context, c conn, _ bool) (any, error) { return nil, c.RotateKey(ctx, anyName) },
	}
}

// models are the operations of models, and of the enterprise's switches.
func models() map[string]call {
	return map[string]call{
		"list-models": lists(func(c conn) client.Lister[client.Model] { return c.Models }, client.Filter{}, 1),
		"get-model":   func(ctx context.Context, c conn, _ bool) (any, error) { return c.Model(ctx, anyName) },
		"put-models": func(ctx context.Context, c conn, filled bool) (any, error) {
			models, err := c.PutModels(ctx, arg[[]client.ModelRow](filled))
			return items[client.Model]{models}, err
		},
		"delete-model":   func(ctx context.Context, c conn, _ bool) (any, error) { return nil, c.DeleteModel(ctx, anyName) },
		"get-enterprise": func(ctx context.Context, c conn, _ bool) (any, error) { return c.Enterprise(ctx) },
		"update-enterprise": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.UpdateEnterprise(ctx, arg[client.EnterpriseChange](filled), version(filled))
		},
	}
}

// changesSets changes the file sets of a level.
func changesSets(level, name string) call {
	return func(ctx context.Context, c conn, filled bool) (any, error) {
		return c.ChangeFileSets(ctx, client.Target{Level: level, Name: name}, arg[client.FileSetChange](filled),
			version(filled))
	}
}

// devices are the operations of devices beyond those of their collection.
func devices() map[string]call {
	return map[string]call{
		"bulk-devices": func(ctx context.Context, c conn, filled bool) (any, error) {
			results, err := c.Bulk(ctx, arg[[]client.BulkRow](filled))
			return struct {
				Results []client.BulkResult `json:"results"`
			}{results}, err
		},
		"change": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.Change(ctx, arg[client.Order](filled), filled)
		},
		"get-desired": func(ctx context.Context, c conn, _ bool) (any, error) { return c.Desired(ctx, anyName) },
		"reset-identity": func(ctx context.Context, c conn, _ bool) (any, error) {
			return nil, c.ResetIdentity(ctx, anyName)
		},
	}
}

// bulkJobs are the operations of bulk jobs.
func bulkJobs() map[string]call {
	return map[string]call{
		"list-jobs": lists(func(c conn) client.Lister[client.Job] { return c.Jobs }, client.Filter{Site: "s"}, 2),
		"list-job-rows": lists(func(c conn) client.Lister[client.JobRow] { return c.JobRows(anyName) },
			client.Filter{Bad: true}, 2),
		"list-templates": lists(func(c conn) client.Lister[client.Template] { return c.Templates }, client.Filter{}, 2),
		"plan-job": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.PlanJob(ctx, arg[client.JobRequest](filled))
		},
		"create-job": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.CreateJob(ctx, arg[client.JobRequest](filled))
		},
		"get-job":  func(ctx context.Context, c conn, _ bool) (any, error) { return c.Job(ctx, anyName) },
		"undo-job": func(ctx context.Context, c conn, filled bool) (any, error) { return c.UndoJob(ctx, anyName, filled) },
		"export-devices": func(ctx context.Context, c conn, filled bool) (any, error) {
			format := ""
			if filled {
				format = "csv"
			}
			return c.ExportDevices(ctx, arg[client.JobQuery](filled), format)
		},
		"put-template": func(ctx context.Context, c conn, filled bool) (any, error) {
			note := ""
			if filled {
				note = "n"
			}
			return c.PutTemplate(ctx, anyName, note, arg[client.DeviceChange](filled), version(filled))
		},
		"delete-template": func(ctx context.Context, c conn, _ bool) (any, error) {
			return nil, c.DeleteTemplate(ctx, anyName)
		},
	}
}

// sentOrders are the operations of orders.
func sentOrders() map[string]call {
	return map[string]call{
		"list-orders": lists(func(c conn) client.Lister[client.OrderState] { return c.Orders },
			client.Filter{Kind: "k", Open: true, Site: "s"}, 2),
		"list-order-devices": lists(func(c conn) client.Lister[client.OrderDevice] { return c.OrderDevices(anyName) },
			client.Filter{Standing: "done"}, 2),
		"get-order":    func(ctx context.Context, c conn, _ bool) (any, error) { return c.Order(ctx, anyName) },
		"cancel-order": func(ctx context.Context, c conn, _ bool) (any, error) { return c.CancelOrder(ctx, anyName) },
		"send-order": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.SendOrder(ctx, arg[client.OrderRequest](filled), filled)
		},
		"get-order-key":    func(ctx context.Context, c conn, _ bool) (any, error) { return c.OrderKey(ctx) },
		"rotate-order-key": func(ctx context.Context, c conn, _ bool) (any, error) { return c.RotateOrderKey(ctx) },
	}
}

// signIns are the operations by which people's programs get in and out.
func signIns() map[string]call {
	return map[string]call{
		"sign-in": func(ctx context.Context, c conn, filled bool) (any, error) {
			label := ""
			if filled {
				label = "l"
			}
			return c.SignIn(ctx, "n", "p", label)
		},
		"ask-sign-in": func(ctx context.Context, c conn, filled bool) (any, error) {
			label := ""
			if filled {
				label = "l"
			}
			return c.AskSignIn(ctx, label)
		},
		"redeem-sign-in": func(ctx context.Context, c conn, _ bool) (any, error) {
			l, _, err := c.RedeemSignIn(ctx, "s")
			return struct {
				Login client.Login `json:"login"`
			}{l}, err
		},
		"who-am-i": func(ctx context.Context, c conn, _ bool) (any, error) { return c.Who(ctx) },
		"log-out":  func(ctx context.Context, c conn, _ bool) (any, error) { return nil, c.SignOut(ctx) },
		"end-sessions": func(ctx context.Context, c conn, _ bool) (any, error) {
			return nil, c.EndSessions(ctx, anyName)
		},
	}
}

// rolloutCalls are the operations of rollouts.
func rolloutCalls() map[string]call {
	all := map[string]call{
		"list-rollouts": lists(func(c conn) client.Lister[client.Rollout] { return c.Rollouts },
			client.Filter{State: "running", Active: "true", Site: "s"}, 2),
		"get-rollout": func(ctx context.Context, c conn, _ bool) (any, error) { return c.Rollout(ctx, anyName) },
		"create-rollout": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.CreateRollout(ctx, anyName, arg[client.RolloutChange](filled))
		},
		"update-rollout": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.UpdateRollout(ctx, anyName, arg[client.RolloutChange](filled), version(filled))
		},
		"plan-site": func(ctx context.Context, c conn, _ bool) (any, error) {
			return c.PlanSite(ctx, anyName, "l", "r")
		},
		"plan-rollout": func(ctx context.Context, c conn, _ bool) (any, error) { return c.PlanRollout(ctx, anyName) },
		"list-rollout-devices": lists(func(c conn) client.Lister[client.RolloutDevice] { return c.RolloutDevices(anyName) },
			client.Filter{Site: "s", Standing: "done"}, 2),
	}
	for _, verb := range []string{"start", "approve", "next", "pause", "resume", "abort", "roll-back", "replace", "retry",
		"skip"} {
		all[verb+"-rollout"] = func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.OrderRollout(ctx, anyName, verb, arg[client.RolloutOrder](filled), version(filled), filled)
		}
	}
	return all
}

// journals are the operations that tell what was.
func journals() map[string]call {
	history := func(c conn) client.Lister[client.HistoryEntry] { return c.History }
	since, before := time.Unix(1, 0), time.Unix(2, 0)
	return map[string]call{
		"get-overview": func(ctx context.Context, c conn, _ bool) (any, error) {
			return c.Overview(ctx, "s", time.Hour)
		},
		"list-webhook-messages": lists(func(c conn) client.Lister[client.WebhookMessage] {
			return c.WebhookMessages(anyName)
		}, client.Filter{State: "dead"}, 2),
		"test-webhook": func(ctx context.Context, c conn, _ bool) (any, error) {
			failure, err := c.TestWebhook(ctx, anyName)
			if err != nil {
				return nil, err
			}
			return struct {
				OK    bool   `json:"ok"`
				Error string `json:"error,omitempty"`
			}{true, failure}, err
		},
		"retry-webhook": func(ctx context.Context, c conn, _ bool) (any, error) {
			n, err := c.RetryWebhook(ctx, anyName)
			return struct {
				Messages int `json:"messages"`
			}{n}, err
		},
		"list-failures": lists(func(c conn) client.Lister[client.Failure] { return c.Failures },
			client.Filter{Site: "s", About: "l"}, 2),
		"get-savings": func(ctx context.Context, c conn, filled bool) (any, error) {
			if !filled {
				return c.Savings(ctx, client.SavingQuery{})
			}
			return c.Savings(ctx, client.SavingQuery{Site: "s", Load: "l", Release: "r", Since: "2026-01", Until: "2026-02",
				By: []string{"site"}})
		},
		"list-history":        lists(history, client.Filter{Site: "s", Kind: "state", Since: since, Before: before}, 2),
		"list-device-history": lists(history, client.Filter{Device: anyName, Kind: "state", Since: since, Before: before}, 2),
		"list-audit": lists(func(c conn) client.Lister[client.AuditEntry] { return c.Audit },
			client.Filter{Site: "s", Actor: "a", Action: "b", Target: "c", PartOf: "d", Since: since, Before: before}, 2),
	}
}

// version is one to compare, or any.
func version(filled bool) client.Version {
	if filled {
		return 7
	}
	return client.AnyVersion
}

// items are the things of a list.
type items[T any] struct {
	Items []T `json:"items"`
}

// lists is a list of one thing on each of so many pages; its filter is that of a
// filled call.
func lists[T any](of func(conn) client.Lister[T], f client.Filter, pages int) call {
	return func(ctx context.Context, c conn, filled bool) (any, error) {
		asked := client.Filter{Device: f.Device} // it stands in the path
		if filled {
			asked = f
		}
		return collect(of(c).List(ctx, asked), pages)
	}
}

func collect[T any](list iter.Seq2[T, error], pages int) (any, error) {
	var all []T
	for v, err := range list {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	if len(all) != pages {
		return nil, fmt.Errorf("the list has %d things, not one on each of %d pages", len(all), pages)
	}
	return items[T]{all[:1]}, nil
}

// set are the operations of a Set. Its things have no versions, and their
// deletion is called a revocation.
func set[T, Order any](word string, of func(conn) client.Set[T, Order], f client.Filter, pages int) map[string]call {
	return map[string]call{
		"list-" + word + "s": lists(func(c conn) client.Lister[T] { return of(c).Lister }, f, pages),
		"create-" + word: func(ctx context.Context, c conn, filled bool) (any, error) {
			return of(c).Create(ctx, anyName, arg[Order](filled))
		},
		"revoke-" + word: func(ctx context.Context, c conn, _ bool) (any, error) {
			return nil, of(c).Delete(ctx, anyName, client.AnyVersion)
		},
	}
}

// collection are the operations of a Collection.
func collection[T, C any](word string, of func(conn) client.Collection[T, C], f client.Filter) map[string]call {
	all := set(word, func(c conn) client.Set[T, C] { return of(c).Set }, f, 2)
	delete(all, "revoke-"+word)
	all["get-"+word] = func(ctx context.Context, c conn, _ bool) (any, error) { return of(c).Get(ctx, anyName) }
	all["update-"+word] = func(ctx context.Context, c conn, filled bool) (any, error) {
		return of(c).Update(ctx, anyName, arg[C](filled), version(filled))
	}
	all["delete-"+word] = func(ctx context.Context, c conn, filled bool) (any, error) {
		return nil, of(c).Delete(ctx, anyName, version(filled))
	}
	return all
}

// level are the operations of one level; a model has no settings.
func level(word, name string) map[string]call {
	t := client.Target{Level: word, Name: name}
	all := map[string]call{
		"assign-" + word + "-load": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.AssignLoad(ctx, t, "l", version(filled))
		},
		"roll-back-" + word + "-load": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.RollBackLoad(ctx, t, version(filled))
		},
		"assign-" + word + "-release": func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.AssignRelease(ctx, t, "r", version(filled))
		},
	}
	if word != "model" {
		all["get-"+word+"-settings"] = func(ctx context.Context, c conn, _ bool) (any, error) { return c.Settings(ctx, t) }
		all["change-"+word+"-settings"] = func(ctx context.Context, c conn, filled bool) (any, error) {
			return c.ChangeSettings(ctx, t, arg[client.SettingsChange](filled), version(filled))
		}
	}
	return all
}

// arg is an argument with all its fields filled, or with none.
func arg[T any](filled bool) T {
	v := reflect.New(reflect.TypeFor[T]()).Elem()
	if filled {
		fill(v)
	} else if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	}
	return v.Interface().(T)
}

// fill fills all fields, but those of a type within itself.
func fill(v reflect.Value, within ...reflect.Type) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), within...)
	case reflect.Slice:
		if !slices.Contains(within, v.Type().Elem()) {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), within...)
		}
	case reflect.Map:
		item := reflect.New(v.Type().Elem()).Elem()
		fill(item, within...)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), item)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), append(within, v.Type())...)
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Uint8:
		v.SetUint(7)
	default:
		v.SetInt(7)
	}
}
