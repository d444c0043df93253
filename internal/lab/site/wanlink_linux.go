package site

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// errNoTUN means that this process may make no TUN device, which a long link
// is made of.
var errNoTUN = errors.New("a WAN with a round trip or loss needs TUN devices: the kernel's module tun, and " +
	"/dev/net/tun readable and writable to this user")

// tunDevice is where the kernel makes TUN devices.
const tunDevice = "/dev/net/tun"

// tunQueue is how many packets the kernel holds while the link does not read:
// some 40 ms at 1 Gbit/s.
const tunQueue = 4000

// longestNap bounds one sleep, and so how long a closed link takes to end.
const longestNap = 50 * time.Millisecond

// longLink is the WAN of a site as this process carries it: two TUN devices,
// one in each router, and two lanes between them. It carries any IP packet.
type longLink struct {
	near, far *os.File
	down, up  *lane
	done      sync.WaitGroup
	queues    [2]*laneQueue
}

// openTUN makes a TUN device in the namespace of the calling thread.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w (%s: %w)", errNoTUN, tunDevice, err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w (make %s: %w)", errNoTUN, name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carryPackets starts a link between two TUN devices, which it owns from then
// on. Down is from far to near.
func carryPackets(cfg LinkConfig, near, far *os.File) (*longLink, error) {
	l := &longLink{near: near, far: far, down: newLane(cfg, 1), up: newLane(cfg, 2)}
	for i, way := range []struct {
		from, to *os.File
		lane     *lane
	}{{far, near, l.down}, {near, far, l.up}} {
		raw, err := way.from.SyscallConn()
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		q := &laneQueue{lane: way.lane}
		q.wake.L = &q.mu
		l.queues[i] = q
		l.done.Go(func() { q.read(raw) })
		l.done.Go(func() { q.write(way.to) })
	}
	return l, nil
}

// close ends the link and removes its devices.
func (l *longLink) close() error {
	err := errors.Join(l.near.Close(), l.far.Close())
	for _, q := range l.queues {
		if q != nil {
			q.close()
		}
	}
	l.done.Wait()
	return err
}

// laneQueue holds the packets that are on their way, in the order in which
// they arrive. A lane bounds it: what is queued before the link and what is on
// the link.
type laneQueue struct {
	lane *lane

	mu     sync.Mutex
	wake   sync.Cond // somebody waits for the first packet
	packs  []flying  // from head on
	head   int
	spare  [][]byte // buffers for later packets
	closed bool
}

// flying is a packet on its way.
type flying struct {
	due time.Duration
	b   []byte
}

// steadyClock reads the kernel's monotonic clock, which the sleeps below use.
func steadyClock() time.Duration {
	var ts unix.Timespec
	// It cannot fail: the clock exists on every Linux.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// read takes packets from a device until it is closed: at each waking, all
// that are there.
func (q *laneQueue) read(raw syscall.RawConn) {
	defer q.close()
	b := q.buffer()
	// An error means that the device is gone: the link has been closed.
	_ = raw.Read(func(fd uintptr) (done bool) {
		for {
			n, err := unix.Read(int(fd), b)
			if err == nil {
				if due, ok := q.lane.admit(steadyClock(), n); ok {
					q.push(flying{due, b[:n]})
					b = q.buffer()
				}
			} else if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
}

// write sends each packet to a device when it is due. It sleeps in the kernel:
// the runtime's timers may be a millisecond late.
func (q *laneQueue) write(to *os.File) {
	for {
		p, ok := q.next()
		if !ok {
			return
		}
		for wait := p.due - steadyClock(); wait > 0; wait = p.due - steadyClock() {
			ts := unix.NsecToTimespec(int64(min(wait, longestNap)))
			// If a signal interrupts it, it checks the clock again.
			_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
			if q.ended() {
				return
			}
		}
		// What the router refuses is lost, as on any link.
		if _, err := to.Write(p.b); errors.Is(err, os.ErrClosed) {
			return
		}
		q.free(p.b)
	}
}

func (q *laneQueue) push(p flying) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.packs = append(q.packs, p)
	q.wake.Signal()
}

// next waits for the first packet and takes it; false when the link is closed.
func (q *laneQueue) next() (flying, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.packs) && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return flying{}, false
	}
	p := q.packs[q.head]
	q.packs[q.head] = flying{}
	q.head++
	// Moving the rest down costs as much as has been taken since.
	if q.head >= 1024 && q.head*2 >= len(q.packs) {
		q.packs = q.packs[:copy(q.packs, q.packs[q.head:])]
		q.head = 0
	}
	return p, true
}

func (q *laneQueue) ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

func (q *laneQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Broadcast()
}

// buffer returns room for one packet.
func (q *laneQueue) buffer() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.spare); n > 0 {
		b := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return b
	}
	return make([]byte, MTU)
}

func (q *laneQueue) free(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spare = append(q.spare, b[:MTU])
}

// joinLong makes the long link between two ends, in the routers' namespaces.
// The calling thread returns to the namespace of the server.
func (s *Namespaces) joinLong(cfg LinkConfig, near, far end) error {
	var files []*os.File
	for _, e := range []end{near, far} {
		f, err := s.tunAt(e)
		if err != nil {
			for _, f := range files {
				err = errors.Join(err, f.Close())
			}
			return err
		}
		files = append(files, f)
	}
	link, err := carryPackets(cfg, files[0], files[1])
	if err != nil {
		return err
	}
	s.long = link
	for _, e := range []end{near, far} {
		h, err := netlink.NewHandleAt(e.ns)
		if err != nil {
			return err
		}
		err = e.settle(h, 0)
		if l, e2 := h.LinkByName(e.name); e2 == nil {
			err = errors.Join(err, h.LinkSetTxQLen(l, tunQueue))
		}
		h.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Namespaces) tunAt(e end) (f *os.File, err error) {
	err = s.within(e.ns, func() error {
		f, err = openTUN(e.name)
		return err
	})
	return f, err
}

// Waits returns how long a packet to the site would wait now before the WAN, and until it
// has left; false if the WAN is no long link.
func (s *Namespaces) Waits() (time.Duration, bool) {
	if s.long == nil {
		return 0, false
	}
	return s.long.down.waits(steadyClock()), true
}
