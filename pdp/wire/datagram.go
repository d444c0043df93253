package wire

import (
	"fmt"
	"net/netip"
)

// Message is one of Claim, Ask, Place, Resign and Direct (datagrams).
type Message interface {
	kind() kind
	put(*writer)
	get(*reader) error
}

type kind uint8

const (
	kindClaim  kind = 1
	kindAsk    kind = 2
	kindPlace  kind = 3
	kindResign kind = 4
	kindDirect kind = 5
)

func datagramOf(k kind) Message {
	switch k {
	case kindClaim:
		return new(Claim)
	case kindAsk:
		return new(Ask)
	case kindPlace:
		return new(Place)
	case kindResign:
		return new(Resign)
	case kindDirect:
		return new(Direct)
	}
	return nil
}

// Rank is what claims are compared by. It is frozen when the claim is
// confirmed, so that both sides of a comparison see the same two tuples.
type Rank struct {
	Confirmed bool
	// Complete: the claimant holds the whole file, verified.
	Complete bool
	// Prefix is the number of verified chunks from the start of the file.
	Prefix int
	// Strength is drawn at random, its top bit set on confirmation
	// ("bumping strength").
	Strength uint32
}

// Confirm returns the rank as it is frozen.
func (r Rank) Confirm() Rank {
	r.Confirmed = true
	r.Strength |= 1 << 31
	return r
}

// Outranks reports whether a claim of rank r by p beats one of rank s by q:
// confirmed before tentative, complete before partial, longer prefix,
// strength, id.
func (r Rank) Outranks(p Peer, s Rank, q Peer) bool {
	if r.Confirmed != s.Confirmed {
		return r.Confirmed
	}
	if c := r.CompareHolding(s); c != 0 {
		return c > 0
	}
	if r.Strength != s.Strength {
		return r.Strength > s.Strength
	}
	return q.Less(p)
}

// CompareHolding compares what two claimants hold, without strength and
// confirmation: 1, 0 or -1.
func (r Rank) CompareHolding(s Rank) int {
	switch {
	case r.Complete != s.Complete && r.Complete, r.Complete == s.Complete && r.Prefix > s.Prefix:
		return 1
	case r.Complete != s.Complete || r.Prefix < s.Prefix:
		return -1
	}
	return 0
}

// Claim is broadcast by a device that is or wants to be root of the file. It
// also tells every listener how far the root is.
type Claim struct {
	Rank Rank
	// Epoch distinguishes contents with the same name: 0 if the key is a
	// digest.
	Epoch uint64
	// Size of the file in bytes, or load.UnknownSize.
	Size int64
	// Prefix and Bytes are what the claimant holds now: verified chunks, and
	// bytes received from the origin.
	Prefix int
	Bytes  int64
	// Complete: the claimant holds the whole file now.
	Complete bool
	// Waiting: the claimant is root and waits for its turn at the origin,
	// because another file of the load is being downloaded.
	Waiting bool
	// Map has a bit for each 1/32 of the file that is held.
	Map uint32
	// Spread is the time over which followers spread their asks, in
	// milliseconds.
	Spread uint16
	// Members is how many followers the claimant knows.
	Members uint16
	// Reason says why the claimant claims.
	Reason Reason
}

const (
	claimConfirmed = 1 << iota
	claimRankComplete
	claimComplete
	claimWaiting
)

func (*Claim) kind() kind { return kindClaim }

func (c *Claim) put(w *writer) {
	var flags uint8
	for _, f := range []struct {
		set bool
		bit uint8
	}{{c.Rank.Confirmed, claimConfirmed}, {c.Rank.Complete, claimRankComplete}, {c.Complete, claimComplete},
		{c.Waiting, claimWaiting}} {
		if f.set {
			flags |= f.bit
		}
	}
	w.u8(flags)
	w.u8(uint8(c.Reason))
	w.u16(c.Spread)
	w.u32(c.Rank.Strength)
	w.u32(uint32(c.Rank.Prefix))
	w.u32(uint32(c.Prefix))
	w.u32(c.Map)
	w.u64(c.Epoch)
	w.u64(uint64(c.Size))
	w.u64(uint64(c.Bytes))
	w.u16(c.Members)
}

func (c *Claim) get(r *reader) (err error) {
	flags := r.u8()
	c.Rank.Confirmed = flags&claimConfirmed != 0
	c.Rank.Complete = flags&claimRankComplete != 0
	c.Complete = flags&claimComplete != 0
	c.Waiting = flags&claimWaiting != 0
	c.Reason = Reason(r.u8())
	c.Spread = r.u16()
	c.Rank.Strength = r.u32()
	if c.Rank.Prefix, err = r.chunks(); err != nil {
		return err
	}
	if c.Prefix, err = r.chunks(); err != nil {
		return err
	}
	c.Map = r.u32()
	c.Epoch = r.u64()
	if c.Size, err = r.size(); err != nil {
		return err
	}
	if c.Bytes, err = r.count(); err != nil {
		return err
	}
	c.Members = r.u16()
	return r.err()
}

// Ask is sent by a follower to its root, by unicast: to get a place or, if it
// has a parent, to report.
type Ask struct {
	// Attached: the asker has the parent named in Parent and wants no place.
	Attached bool
	// Move: the asker has a parent that serves it badly, the one in Failed.
	Move bool
	// Done: the asker holds the whole file and needs nothing any more.
	Done bool
	// Yields: the asker takes children only where nobody else can.
	Yields bool
	Stripe uint8
	// Free is the number of child slots that are free, Children those taken.
	Free, Children uint8
	// Depth of the asker below the root as it knows it.
	Depth  uint8
	Prefix int
	Epoch  uint64
	Parent Peer
	// Failed is a parent that did not serve, and Reason why.
	Failed Peer
	Reason Reason
	// Trees is how many trees the asker takes the file through: with 2 the ask
	// is about the tree of Stripe alone, with 1 one parent sends all chunks; 0:
	// not known yet.
	Trees uint8
	// Speed is how fast the asker's port was seen to send lately, in kilobytes
	// (1,000 bytes) per second; 0: not known.
	Speed uint32
}

func (*Ask) kind() kind { return kindAsk }

func (a *Ask) put(w *writer) {
	var flags uint8
	if a.Attached {
		flags |= 1
	}
	if a.Move {
		flags |= 2
	}
	if a.Done {
		flags |= 4
	}
	if a.Yields {
		flags |= 8
	}
	w.u8(flags)
	w.u8(a.Stripe)
	w.u8(a.Free)
	w.u8(a.Children)
	w.u8(a.Depth)
	w.u8(uint8(a.Reason))
	w.u32(uint32(a.Prefix))
	w.u64(a.Epoch)
	w.peer(a.Parent)
	w.peer(a.Failed)
	w.u8(a.Trees)
	w.u32(a.Speed)
}

func (a *Ask) get(r *reader) (err error) {
	flags := r.u8()
	a.Attached, a.Move, a.Done, a.Yields = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0
	a.Stripe = r.u8()
	a.Free = r.u8()
	a.Children = r.u8()
	a.Depth = r.u8()
	a.Reason = Reason(r.u8())
	if a.Prefix, err = r.chunks(); err != nil {
		return err
	}
	a.Epoch = r.u64()
	a.Parent = r.peer()
	a.Failed = r.peer()
	if err := r.err(); err != nil {
		return err
	}
	a.Trees, a.Speed = r.tail8(), r.tail32()
	if err := r.err(); err != nil {
		return err
	}
	if a.Free > MaxChildren || a.Children > MaxChildren {
		return fmt.Errorf("%w: %d free and %d taken slots", ErrMalformed, a.Free, a.Children)
	}
	return checkTrees(a.Stripe, a.Trees)
}

// Place answers an Ask: which parent to open a connection to. A zero Parent
// means that there is no place yet; ask again after Wait.
type Place struct {
	Stripe uint8
	Depth  uint8
	// Wait is in milliseconds.
	Wait   uint16
	Parent Peer
	Addr   netip.AddrPort
	// Trees is how many trees the file takes; 0: the root does not know yet,
	// or is older than this field and has one.
	Trees uint8
}

// checkTrees refuses stripes and numbers of trees that do not exist.
func checkTrees(stripe, trees uint8) error {
	if stripe >= MaxStripes || trees > MaxStripes {
		return fmt.Errorf("%w: stripe %d of %d trees", ErrMalformed, stripe, trees)
	}
	return nil
}

func (*Place) kind() kind { return kindPlace }

func (p *Place) put(w *writer) {
	w.u8(p.Stripe)
	w.u8(p.Depth)
	w.u16(p.Wait)
	w.peer(p.Parent)
	w.addr(p.Addr)
	w.u8(p.Trees)
}

func (p *Place) get(r *reader) error {
	p.Stripe = r.u8()
	p.Depth = r.u8()
	p.Wait = r.u16()
	p.Parent = r.peer()
	p.Addr = r.addr()
	if err := r.err(); err != nil {
		return err
	}
	p.Trees = r.tail8()
	return checkTrees(p.Stripe, p.Trees)
}

// Resign is broadcast by a root that steps down.
type Resign struct {
	Reason Reason
	// Successor is the peer that should claim at once, before the others; zero
	// for an open election.
	Successor Peer
	// Backoff is how long the sender leaves the origin alone, in milliseconds;
	// others need not believe all of it.
	Backoff uint32
}

func (*Resign) kind() kind { return kindResign }

func (s *Resign) put(w *writer) {
	w.u8(uint8(s.Reason))
	w.peer(s.Successor)
	w.u32(s.Backoff)
}

func (s *Resign) get(r *reader) error {
	s.Reason = Reason(r.u8())
	s.Successor = r.peer()
	s.Backoff = r.u32()
	return r.err()
}

// Direct is broadcast by a follower that downloads from the origin itself
// because peers failed it: the claim on the subnet's budget for this file.
type Direct struct {
	Reason Reason
	// Done: the download ended; the budget is free.
	Done   bool
	Prefix int
	Bytes  int64
}

func (*Direct) kind() kind { return kindDirect }

func (d *Direct) put(w *writer) {
	w.u8(uint8(d.Reason))
	if d.Done {
		w.u8(1)
	} else {
		w.u8(0)
	}
	w.u32(uint32(d.Prefix))
	w.u64(uint64(d.Bytes))
}

func (d *Direct) get(r *reader) (err error) {
	d.Reason = Reason(r.u8())
	d.Done = r.u8()&1 != 0
	if d.Prefix, err = r.chunks(); err != nil {
		return err
	}
	if d.Bytes, err = r.count(); err != nil {
		return err
	}
	return r.err()
}
