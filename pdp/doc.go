/*
Package pdp is the Peer Distribution Protocol (PDP) as a state machine: devices
of one subnet that want the same file elect one of them, which alone downloads
it from a server, and pass it on to each other while it is still arriving.

A [Machine] is one hierarchy (one file, one model group, one subnet) as one
device sees it. It composes four packages that can be imported alone:

  - wire: the messages
  - election: who is root, which means who downloads
  - tree: whom the root gives to whom as a parent
  - transfer: which chunk a parent sends to which child

docs/PROTOCOL.md says what goes over the wire.

# Driving a machine

A machine does nothing by itself. It never blocks, reads no clock, starts no
goroutine, and never sees a byte of the file: it knows chunk numbers and
verdicts. All that is the driver's part, which feeds it events and carries out
its actions:

	m := pdp.New(pdp.LAN(), self, file, rnd)
	out := m.Step(now, pdp.Start{}, nil)
	for {
		for _, a := range out {
			do(a) // send, dial, store, read back, …
		}
		at, ok := m.Deadline() // call Step(at, nil, …) then at the latest
		event := wait(at, ok)  // nil: the deadline came first
		out = m.Step(now, event, out[:0])
	}

Time is monotonic, counted from wherever the driver likes. The same
configuration, source of chance and events give the same actions: a run can be
played again, and whole sites of machines run in virtual time. The example of
this package is a small driver of that kind.

# The duties of a driver

One at a time. Calls of a machine do not overlap. A goroutine that has read or
written something posts an event to the one that steps the machine.

In order. Actions are carried out in the order in which they stand. What the
store must know before a message leaves stands before the message: [Reset] and
[SetSize] before the frames that tell of them.

Not blocking. [Dial], [OpenOrigin], [Verify] and [Prepare] only start something,
and its end is an event: [Opened] or [Closed] after Dial; [OriginOpened], then
[OriginBytes] and a [Stored] for each chunk, then [OriginEnded] after
OpenOrigin; [Verified] after Verify; none after Prepare. [Close] and
[StopOrigin] have no echo: what arrives late from there is dropped by the
driver.

Stored means stored. Stored is posted once the chunk has passed its check, where
there is something to check it against, and has been written. [Bad] is posted
when it failed its check, and then nothing was stored. A machine asks by
[SendChunk] only for what was Stored before, and [Sent] follows once it has
left.

Content has generations. After Reset the driver drops the events about the
content before it: a chunk that was being written then is no chunk of the new
content.

Verified, then named. Verify reads back what the medium holds, not what was
written. [Complete] says that the file may be committed. The driver decides when
its name appears: for a load, when all its components are complete.

The origin has turns. Of the files of a load one at a time is downloaded. The
machine of a file whose turn has not come gets Gate{}: it takes part in its
election, waits as root, and says so in its claims. When [Machine.OriginDone] of
the file before reports true, it gets Gate{Open: true}.

# When something fails

A driver that cannot write posts DiskFailed. Drop names chunks that were stored
and turned out to be wrong: the store forgets them, and they come again.
Verified.Dropped are those that the medium did not keep. Fail says that the file
is not coming, and why: a root resigns first and every link is closed, as after
Stop, and nothing that is posted later has any effect.

# Links

A link is a stream between a child and its parent. The child's machine numbers
it when it dials, with a negative number; the parent's driver does when it
accepts, with a positive one that it has not used before. The child's machine
sends a Hello as its first frame. The parent's driver reads it, finds the machine
of its hierarchy, and posts it as [Accepted]. Every other frame is [Framed], but
for the two that carry bytes: a Chunk becomes Stored or Bad, with [Active] while
it comes, and the digests of TableParts are compared by the driver, which posts
the verdict as [Compared].

# Inside

What lives here: the composition, the events and the actions. What must not:
sockets, files, clocks, goroutines, digests. The parts have methods and an output
struct in place of events, since their caller is one file away.

A [Machine] takes each event to whom it concerns. What is known and decided has
owners, each of which alone writes its fields and says when it has something to
do, and what it does then:

  - candidate (elect.go): this device in the election
  - following (following.go, watch.go), with a side for each tree (side.go):
    parents, the root, being slow
  - rootSide (root.go, handover.go): being root
  - children (children.go): having children
  - held (held.go): the content, its size, verifying it
  - repair (repair.go): finding what is wrong where the whole is
  - originSide (origin.go): the download from the origin
  - fallback (fallback.go): going there without being root; review (review.go)
    compares it with the peers

Read machine.go first, then elect.go, and the others as the events lead there.
*/
package pdp
