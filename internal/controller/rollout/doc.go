// Package rollout decides how a release reaches the devices of a target, as a
// state machine: wave by wave, within windows, until every device is accounted
// for. Events come in, grants and actions go out; time is an argument.
//
// What lives here: the plan, the states of a rollout and of its devices, what
// devices may do now, and what pauses, opens and ends. What must not: clocks,
// databases, goroutines; who may give orders; which load of a release is for
// which model; how a device is told.
//
// A Machine is one rollout. It holds no device: each is a Row, which the caller
// keeps, hands in and stores again. So a check-in costs the same in a fleet of any
// size, counts are kept as rows change, and a controller that was restarted goes
// on from what was stored. Nothing is drawn: where devices are to be spread, a hash
// of the rollout and the device decides.
//
// The duties of a driver:
//
//   - It stores the Record after each call, and the Row if Outcome.Changed says so,
//     in one transaction, before it carries out the actions and gives a device
//     its Grant. One call at a time is under way for a rollout.
//   - After List it calls Machine.List for each device of the target, once, and
//     then Step with Listed. After Drop it removes the rows.
//   - It knows which devices the rollouts hold that are active (State.Active), and
//     lets no two of them have the same one.
//   - It gives each report of a device to the active rollout that has it, and else
//     to the last one that has handed it a grant.
//   - It calls Step with Tick once Deadline has passed, and Look for each row
//     whose Due has passed, with the time at which the device was last heard of.
//   - It keeps what Outcome.Judged and Undo say of a device for good, names it in
//     each later Candidate, and tells the active rollout that has the device by
//     Judge.
//   - After a time in which it could hear no device it tells by Outage. After its
//     clock was set back it calls Look for all rows: what they wait for counts from
//     the new time.
//
// Read plan.go (what people ask for), record.go (what is kept), event.go and
// action.go, then machine.go (orders), list.go (who is in it), device.go (a
// device is heard of, or not), grant.go (what it may do) and wave.go (what
// pauses, opens and ends).
package rollout
