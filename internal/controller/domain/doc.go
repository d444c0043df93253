// Package domain is the domain of the controller: devices, profiles, the
// enterprise, models, loads, what devices report, users and their rights; and
// the use cases on them, which are the methods of Controller. Each takes the
// Actor that asks, enforces what that actor may do, and writes what changed
// into the audit log in the transaction that changes it.
//
// What lives here: the types, the rules, and the Store interface by which a
// database is seen. What must not: SQL, HTTP, files, the clock (it is
// injected), flags and output. Read first: types.go, store.go, controller.go.
package domain
