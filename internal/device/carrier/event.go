package carrier

import (
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/pdp/wire"
)

// Link names a connection between two devices: below zero one that this device has
// opened, above zero one that it has accepted.
type Link int

// Event is what happened.
type Event interface{ event() }

// Events of the subnet.
type (
	// Datagram is a message in the hierarchy.
	Datagram struct {
		From netip.AddrPort
		Env  wire.Envelope
		Msg  wire.Message
	}
	// Accepted is a follower that has said Hello. Link is one that was not used before.
	Accepted struct {
		Link Link
		From netip.AddrPort
	}
	// Opened says that a carrier has welcomed this device.
	Opened struct{ Link Link }
	// Closed says that a link has ended, or could not be opened.
	Closed struct {
		Link   Link
		Reason wire.Reason
	}
	// Asked says that the carrier asks for a mandate. Carrier is its name as a device.
	Asked struct {
		Link    Link
		Carrier string
	}
	// Mandated is what a follower has answered.
	Mandated struct {
		Link    Link
		Mandate []byte
	}
)

// Events of the controller, by way of the carrier. Each is genuine.
type (
	// Covered says that the controller sends this device's orders to the carrier, by
	// the mandate with the nonce. Last is the number of the last order before, Time
	// that of the controller's clock.
	Covered struct {
		Link  Link
		Nonce uint32
		Feed  string
		Last  uint64
		Time  time.Time
	}
	// Beat is a sign of life.
	Beat struct {
		Link Link
		Feed string
		Last uint64
		Time time.Time
	}
	// Numbered is an order, for this device or not.
	Numbered struct {
		Link   Link
		Feed   string
		Number uint64
	}
)

// Events of the own connection to the controller.
type (
	// Linked says that it works: a beat came.
	Linked struct{}
	// Unlinked says that it has ended. Seldom says that it is of no use to try again
	// soon.
	Unlinked struct{ Seldom bool }
	// Line is what came, to be passed on. Covers are those of the mandates of Connect,
	// in their order; with none, nil.
	Line struct {
		Text   []byte
		Covers [][]byte
	}
)

// Events of reports.
type (
	// Reporting asks to hand a report of this device over; SendReport or Reported follows.
	Reporting struct{}
	// Answered is what the carrier says of the report that it has. Genuine says that the
	// controller has it: nobody else can make the code for it.
	Answered struct {
		Link    Link
		Genuine bool
	}
	// Handed is a report of a follower.
	Handed struct {
		Link   Link
		Report order.Reported
	}
	// HandedOver ends a HandOver: Acks are what the controller says.
	HandedOver struct{ Acks []order.Ack }
)

// Tick says that the Deadline has passed.
type Tick struct{}

func (Datagram) event() {}
func (Accepted) event() {}
func (Opened) event()   {}
func (Closed) event()   {}
func (Asked) event()    {}
func (Mandated) event() {}
func (Covered) event()  {}
func (Beat) event()     {}
func (Numbered) event() {}
func (Linked) event()   {}
func (Unlinked) event() {}
func (Line) event()     {}
func (Tick) event()     {}

func (Reporting) event()  {}
func (Answered) event()   {}
func (Handed) event()     {}
func (HandedOver) event() {}

// Action is what is to be done.
type Action interface{ action() }

// The actions.
type (
	// Broadcast a message in the hierarchy.
	Broadcast struct{ Msg wire.Message }
	// Dial opens a link and says Hello; Opened or Closed follows.
	Dial struct {
		Link Link
		Addr netip.AddrPort
	}
	// Drop ends a link. No event follows.
	Drop struct {
		Link   Link
		Reason wire.Reason
	}
	// Welcome accepts a follower.
	Welcome struct{ Link Link }
	// Ask asks a follower for a mandate.
	Ask struct{ Link Link }
	// Mandate makes a mandate for the carrier of that name and sends it to it.
	Mandate struct {
		Link    Link
		Carrier string
		Nonce   uint32
	}
	// Pass passes a line of the controller on to a follower, with the cover for it, if
	// there is one.
	Pass struct {
		Link        Link
		Text, Cover []byte
	}
	// Connect connects to the controller, for followers too, in place of the connection
	// that there is; Linked or Unlinked follows.
	Connect struct{ Mandates [][]byte }
	// Disconnect ends the own connection. No event follows.
	Disconnect struct{}
	// SendReport sends the report of this device to the carrier, sealed for it; Reported
	// follows.
	SendReport struct{ Link Link }
	// Reported ends a Reporting. If the controller does not have the report, so far as this
	// device knows, its owner has it still, and reports by itself.
	Reported struct{ Has bool }
	// HandOver hands reports of followers over to the controller; HandedOver follows.
	HandOver struct{ Reports []order.Reported }
	// Took tells a follower what the controller has said of its report; without a code:
	// it was not handed over.
	Took struct {
		Link Link
		Ack  order.Ack
	}
)

func (Broadcast) action()  {}
func (Dial) action()       {}
func (Drop) action()       {}
func (Welcome) action()    {}
func (Ask) action()        {}
func (Mandate) action()    {}
func (Pass) action()       {}
func (Connect) action()    {}
func (Disconnect) action() {}

func (SendReport) action() {}
func (Reported) action()   {}
func (HandOver) action()   {}
func (Took) action()       {}
