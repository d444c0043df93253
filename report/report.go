// Package report is the schema of what a device reports about itself: the
// events of a run as JSON lines, the final report of a file or load, and the
// report of a device to its controller. The console, syslog, metrics, the
// status file, the pages and the lab all read these types.
//
// A program that runs "peerload get --json" decodes each line of its output
// into an [Event] and branches on its field Event; it must ignore unknown kinds
// and unknown fields. The last lines are of kind [KindReport], one for each
// file or load, with a [Final] if it had begun. A program that imports package
// peerload gets the same events by Request.Events, without those of KindReport:
// it has what Fetch returns.
//
// What lives here: the schema and the words that it uses. What must not: how an
// event is written, sent or stored, and any decision.
//
// Read report.go first, then device.go.
package report

// Schema is the version of Event and Final. It is raised when a field changes
// its meaning or is removed; new fields do not raise it.
const Schema = 1

// TimeLayout is how times are written, for package time: RFC 3339 with
// microseconds.
const TimeLayout = "2006-01-02T15:04:05.000000Z07:00"

// Kinds of events, in the order in which a run meets them first. KindChild,
// KindFallback, KindConflict and KindLog may come at any time between KindStart
// and the end.
const (
	KindListening = "listening" // the peer ports are open; Address
	KindStart     = "start"     // the run of one file begins; URL, File
	KindElection  = "election"  // a decision of the election; Reason, Message
	KindRole      = "role"      // the role changed; Role, Root, Reason
	KindParent    = "parent"    // the parent changed; Parent, Reason
	KindChild     = "child"     // a child came or went; Children, Reason
	KindSource    = "source"    // where the bytes come from changed; Source, Reason
	KindProgress  = "progress"  // bytes arrived, at most every 250 ms; Bytes, Size, Percent
	KindFallback  = "fallback"  // peers failed, or the origin did; Reason
	KindConflict  = "conflict"  // another device carries this device's id
	KindVerified  = "verified"  // the whole file's digest is right
	KindCommitted = "committed" // the file has its name; Message is its path
	KindDone      = "done"      // the final report of one file or load; Final, Message
	KindFailed    = "failed"    // the file is not coming; Reason, Message, Final
	KindLog       = "log"       // a console line; Message

	// KindReport is the last event of one file or load, after serving the
	// peers, from the command line only; Final; if it failed, Reason and
	// Message.
	KindReport = "report"
)

// Roles of a device in one hierarchy.
const (
	RoleNone     = "none"     // no hierarchy yet
	RoleRoot     = "root"     // downloads from the origin, parent of all
	RoleParent   = "parent"   // has a parent and children
	RoleLeaf     = "leaf"     // has a parent and no child
	RoleDetached = "detached" // has lost its parent and waits for a place
	RoleClassic  = "classic"  // does not share: downloads by itself
)

// Sources of a file's bytes.
const (
	SourceNone   = "none"
	SourceOrigin = "origin" // the server, over the WAN
	SourcePeer   = "peer"   // another device
	SourceCache  = "cache"  // held from before
)

// Event is one line of a run.
type Event struct {
	Schema int    `json:"schema"`
	Time   string `json:"time"`            // RFC 3339 with microseconds, local clock
	Event  string `json:"event"`           // one of the Kind words
	Device string `json:"device"`          // the device's id, 16 hexadecimal digits
	File   string `json:"file,omitempty"`  // the component's name
	Model  string `json:"model,omitempty"` // the model, where given
	URL    string `json:"url,omitempty"`

	Hierarchy string   `json:"hierarchy,omitempty"` // the hierarchy's id, hexadecimal
	Role      string   `json:"role,omitempty"`
	Source    string   `json:"source,omitempty"`
	Root      string   `json:"root,omitempty"`     // the root's address
	Parent    string   `json:"parent,omitempty"`   // the parent's address
	Parents   []string `json:"parents,omitempty"`  // all of them, where the file comes from several
	Children  []string `json:"children,omitempty"` // the children's addresses
	Address   string   `json:"address,omitempty"`  // the device's own address and TCP port

	Bytes   int64 `json:"bytes,omitempty"`   // of the file, verified and stored
	Size    int64 `json:"size,omitempty"`    // of the file; 0 while unknown
	Percent int   `json:"percent,omitempty"` // 0 to 100

	// Reason is a stable code: the name of a wire.Reason of package pdp/wire.
	// In KindFailed it may also be any of Device.Reason; in KindFallback it may
	// be "metadata-refused" (the metadata that a peer sent is not trusted).
	Reason string `json:"reason,omitempty"`
	// Message says the same to people. In KindCommitted it is the path; in
	// KindDone it is the path too, or from the command line a sentence.
	Message string `json:"message,omitempty"`
	// MessageJA is Message in Japanese, "" where it is not in words.
	MessageJA string `json:"message_ja,omitempty"`

	// Final of KindDone, KindFailed and KindReport. If the file failed, it
	// describes the run up to then; it is nil if the file had not begun.
	Final *Final `json:"final,omitempty"`
}

// Final is the report of one file, or of a whole load when File names it.
type Final struct {
	File            string     `json:"file"`
	URL             string     `json:"url"`
	Size            int64      `json:"size"`
	SHA256          string     `json:"sha256"`
	Path            string     `json:"path,omitempty"` // where it was committed
	Source          string     `json:"source"`         // where most of the bytes came from
	Role            string     `json:"role"`           // the last role held
	Root            string     `json:"root,omitempty"`
	Parent          string     `json:"parent,omitempty"`
	Children        []string   `json:"children,omitempty"` // all that were served
	BytesFromOrigin int64      `json:"bytes_from_origin"`
	BytesFromPeers  int64      `json:"bytes_from_peers"`
	BytesFromCache  int64      `json:"bytes_from_cache"`
	BytesToPeers    int64      `json:"bytes_to_peers"`
	Elections       int        `json:"elections"` // claims of this device that were confirmed
	Fallbacks       []Fallback `json:"fallbacks,omitempty"`
	FirstByteS      float64    `json:"first_byte_s"` // start to first byte from anywhere, seconds
	ElapsedS        float64    `json:"elapsed_s"`    // start to commit, seconds
	Unsigned        bool       `json:"unsigned,omitempty"`
	// Load is the name of the load or file set that this is the report of; "" for a
	// single file, and from devices that do not tell.
	Load string `json:"load,omitempty"`
	// Reason is why it is not coming, "" if it is complete; from a device that is
	// told its loads by a controller.
	Reason     string  `json:"reason,omitempty"`
	Components []Final `json:"components,omitempty"`
}

// Fallback is one time at which a source was given up: which, when and why.
type Fallback struct {
	AtS    float64 `json:"at_s"`   // seconds after start
	From   string  `json:"from"`   // the address or URL that failed
	Reason string  `json:"reason"` // a stable code, as Event.Reason
}
