// Package upgrade decides how a device gets from one load to the next, as a
// state machine: provisioned, fetched, installed, tried, and in the end
// confirmed or rolled back. Events come in, actions go out; time is an argument.
//
// What lives here: the phases, what of them survives a restart, what follows
// from what happens, and when to give up. What must not: files, processes,
// clocks, goroutines; how a load is fetched, installed or found to work; the
// words for people.
//
// The duties of a driver:
//
//   - It carries out the actions of one Step in their order. After a Remember that
//     failed it carries out none of the rest, and tells by NotRemembered.
//   - Of the jobs (Fetch, RunStep, ChangeSlots, AskHealth) one at a time is under
//     way. Each ends with its event, a Fetch that Stop cut short with NotFetched.
//   - It calls Step with Tick once the Deadline has passed.
//   - After a start of the program it gives New what was remembered last, then
//     Started before anything else, and Wake once loads can be fetched.
//
// Read record.go (what is kept), event.go and action.go, then machine.go
// (provisioned to installed) and trial.go (tried to the end).
package upgrade
