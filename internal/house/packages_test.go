package house

// side of the product: the device and the controller do not know each other.
type side int

const (
	both side = iota
	device
	controller
	outside // sees the whole product from outside: laboratory and commands
)

// rule says what one package may use.
type rule struct {
	dir   string
	floor int
	side  side
	// pure: same inputs, same outputs. No files, no sockets, no clock, no
	// goroutines, no randomness but what is passed in.
	pure bool
	// still: no clock and no goroutine; the driver calls.
	still bool
	// allowedImports, if not nil, are all packages of this module that it may
	// import.
	allowedImports []string
	// libraries are all modules of others that it may use.
	libraries []string
}

// nothing of this module.
var nothing = []string{}

// packages lists all packages from the ground up. A package imports only
// packages that come before it in this list, of its own side or of both, and
// neither commands nor packages for tests. A package that is not in the list
// has no rule yet: give it one.
var packages = []rule{
	// Floor 0: nouns.
	{dir: "load", floor: 0, pure: true, allowedImports: nothing},
	{dir: "internal/choice", floor: 0, pure: true, allowedImports: nothing},
	{dir: "internal/parse", floor: 0, pure: true, allowedImports: nothing},
	{dir: "internal/policy", floor: 0, pure: true, allowedImports: []string{"internal/choice", "internal/parse"}},
	{dir: "report", floor: 0, pure: true, allowedImports: nothing},
	{dir: "internal/order", floor: 0, pure: true, allowedImports: nothing},

	// Floor 1: the protocol.
	{dir: "pdp/wire", floor: 1, pure: true, allowedImports: []string{"load"}},
	{dir: "internal/live", floor: 1, pure: true, allowedImports: []string{"report", "pdp/wire"}},
	{dir: "pdp/election", floor: 1, pure: true, allowedImports: []string{"pdp/wire"}},
	{dir: "pdp/tree", floor: 1, pure: true, allowedImports: []string{"pdp/wire"}},
	{dir: "pdp/transfer", floor: 1, pure: true, allowedImports: []string{"pdp/wire"}},
	{dir: "pdp/internal/chunks", floor: 1, pure: true, allowedImports: []string{"load", "pdp/wire", "pdp/transfer"}},
	{dir: "pdp/internal/follower", floor: 1, pure: true, allowedImports: []string{"pdp/wire", "pdp/tree", "pdp/transfer"}},
	{dir: "pdp/internal/origin", floor: 1, pure: true, allowedImports: []string{"pdp/wire", "pdp/transfer"}},
	{dir: "internal/note", floor: 1, pure: true, allowedImports: []string{"pdp/wire", "pdp/election"}},
	{dir: "pdp", floor: 1, pure: true},

	// Floor 2: what both sides share.
	{dir: "tftp/internal/slide", floor: 1, pure: true},
	{dir: "internal/ratelimit", floor: 2, allowedImports: nothing},
	{dir: "internal/pieces", floor: 2, pure: true, allowedImports: nothing},
	{dir: "internal/printable", floor: 2, pure: true, allowedImports: nothing},
	{dir: "internal/terminal", floor: 2, pure: true, allowedImports: []string{"internal/printable"},
		libraries: []string{"github.com/mattn/go-runewidth"}},
	{dir: "internal/loglimit", floor: 2, allowedImports: nothing},
	{dir: "internal/rfc5424", floor: 2, pure: true, allowedImports: nothing},
	{dir: "internal/sdnotify", floor: 2, allowedImports: nothing, libraries: []string{"golang.org/x/sys"}},
	{dir: "tftp", floor: 2, allowedImports: []string{"internal/ratelimit", "tftp/internal/slide"},
		libraries: []string{"golang.org/x/sys"}},
	{dir: "internal/durable", floor: 2, allowedImports: nothing},
	{dir: "internal/sums", floor: 2, still: true, allowedImports: []string{"load"}},
	{dir: "internal/version", floor: 2, still: true, allowedImports: nothing},
	{dir: "internal/tuf", floor: 2, still: true, allowedImports: []string{"load"}},
	{dir: "trust", floor: 2, allowedImports: []string{"load", "internal/durable", "internal/tuf"},
		libraries: []string{"github.com/theupdateframework/go-tuf/v2"}},

	{dir: "internal/provision", floor: 2, side: both, still: true, allowedImports: []string{"load", "internal/policy"},
		libraries: []string{"github.com/BurntSushi/toml"}},
	{dir: "internal/device/background", floor: 2, side: device, libraries: []string{"golang.org/x/sys"}},

	// Floor 2: the device.
	{dir: "internal/device/origin", floor: 2, side: device,
		allowedImports: []string{"load", "internal/ratelimit", "internal/device/background", "tftp"}},
	{dir: "internal/device/spread", floor: 2, side: device,
		allowedImports: []string{"load", "internal/pieces", "internal/device/origin"}},
	{dir: "internal/device/peernet", floor: 2, side: device, allowedImports: []string{"pdp/wire"},
		libraries: []string{"golang.org/x/sys"}},
	{dir: "internal/testkit/fabric", floor: 2, side: device, allowedImports: []string{"pdp/wire",
		"internal/device/peernet"}},
	{dir: "internal/device/seal", floor: 2, side: device, pure: true, allowedImports: nothing},
	{dir: "internal/device/slot", floor: 2, side: device, still: true,
		allowedImports: []string{"load", "internal/device/seal"},
		libraries:      []string{"golang.org/x/sys"}},
	{dir: "internal/device/fileset", floor: 2, side: device, still: true,
		allowedImports: []string{"load", "internal/device/seal", "internal/device/slot"}},
	{dir: "internal/testkit/faultdisk", floor: 2, side: device, still: true, allowedImports: []string{"load",
		"internal/durable", "internal/device/slot"}},
	{dir: "internal/device/status", floor: 2, side: device, allowedImports: []string{"report", "internal/durable",
		"internal/device/slot"}},
	{dir: "internal/device/reason", floor: 2, side: both, pure: true, allowedImports: []string{"pdp/wire"}},
	{dir: "internal/device/wording", floor: 2, side: both, pure: true,
		allowedImports: []string{"report", "pdp/wire", "internal/note", "internal/parse", "internal/device/reason"}},
	{dir: "internal/device/doctor", floor: 2, side: device, pure: true, allowedImports: nothing},
	{dir: "internal/device/display", floor: 2, side: device, still: true, allowedImports: []string{"report",
		"internal/terminal", "internal/device/status", "internal/device/reason", "internal/device/wording"}},
	{dir: "internal/device/sharing", floor: 2, side: device, pure: true,
		allowedImports: []string{"internal/choice", "load", "internal/device/reason"},
		libraries:      []string{"github.com/ulikunitz/xz"}},
	{dir: "internal/device/signed", floor: 2, side: device, still: true, allowedImports: []string{"load", "internal/tuf",
		"trust"}},
	{dir: "internal/device/engine", floor: 2, side: device, libraries: []string{"golang.org/x/sys"}},
	{dir: "internal/device/upgrade", floor: 2, side: device, pure: true,
		allowedImports: []string{"report", "internal/device/reason"}},
	{dir: "internal/device/inbox", floor: 2, side: device, pure: true, allowedImports: []string{"internal/order"}},
	{dir: "internal/device/carrier", floor: 2, side: device, pure: true, allowedImports: []string{"internal/order",
		"pdp/wire", "pdp/election"}},
	{dir: "internal/device/yield", floor: 2, side: device, allowedImports: nothing},
	{dir: "internal/device/syslog", floor: 2, side: device, allowedImports: []string{"internal/rfc5424", "report"}},
	{dir: "internal/device/failure", floor: 2, side: device, still: true,
		allowedImports: []string{"pdp/wire", "internal/tuf", "internal/device/slot", "internal/device/reason",
			"internal/device/engine"}},
	{dir: "internal/device/target", floor: 2, side: device, still: true,
		allowedImports: []string{"load", "internal/durable", "internal/device/origin", "internal/device/failure"}},
	{dir: "internal/device/proxy", floor: 2, side: device,
		allowedImports: []string{"load", "report", "pdp", "internal/durable", "internal/device/origin",
			"internal/device/peernet", "internal/device/slot", "internal/device/status", "internal/device/reason",
			"internal/device/sharing", "internal/device/engine", "internal/device/failure", "trust"}},
	{dir: "internal/device/hookunit", floor: 2, side: device, allowedImports: nothing},
	{dir: "internal/device/logtail", floor: 2, side: device, allowedImports: nothing},
	{dir: "internal/device/feed", floor: 2, side: device, allowedImports: []string{"internal/order", "internal/durable",
		"internal/device/seal", "internal/device/slot", "internal/device/inbox"}},
	{dir: "internal/device/teller", floor: 2, side: device, allowedImports: []string{"report", "internal/order",
		"pdp/wire", "internal/live"}},
	{dir: "internal/device/relay", floor: 2, side: device, allowedImports: []string{"internal/order", "pdp/wire",
		"internal/device/peernet", "internal/device/engine", "internal/device/carrier", "internal/device/feed",
		"internal/device/teller"}},
	{dir: "internal/device/agent", floor: 2, side: device, libraries: []string{"golang.org/x/sys",
		"github.com/BurntSushi/toml"}},
	// No trust: a program that fetches single files links no library of TUF.
	{dir: "internal/device/fetch", floor: 2, side: device, allowedImports: []string{"load", "internal/policy", "report",
		"pdp/transfer", "pdp", "internal/tuf", "internal/device/origin", "internal/device/peernet",
		"internal/device/slot", "internal/device/status", "internal/device/engine", "internal/device/failure",
		"internal/device/target"}},
	{dir: "internal/device/exit", floor: 2, side: device, still: true, allowedImports: []string{"pdp/wire",
		"internal/device/reason", "internal/device/failure"}},
	{dir: "internal/device/serverflags", floor: 2, side: device, still: true, allowedImports: []string{"internal/parse",
		"internal/policy", "internal/device/fetch"}, libraries: []string{"github.com/spf13/pflag"}},
	{dir: ".", floor: 2, side: device, allowedImports: []string{"load", "report", "internal/device/failure",
		"internal/device/signed", "internal/device/fetch"}},

	{dir: "internal/cli", floor: 2, side: both, still: true, allowedImports: []string{"internal/choice"},
		libraries: []string{"github.com/spf13/pflag"}},
	{dir: "internal/cli/strict", floor: 2, side: both, still: true,
		allowedImports: []string{"internal/choice", "internal/cli"}, libraries: commandLibraries},

	// Floor 2: the simulator, as pure as what it simulates; the controller plans with
	// it.
	{dir: "internal/sim", floor: 2, side: both, pure: true,
		allowedImports: []string{"internal/choice", "internal/pieces", "load", "report", "pdp/wire", "pdp/election",
			"pdp/tree", "pdp/transfer", "pdp", "internal/note"}},
	{dir: "internal/predict", floor: 2, side: both, pure: true, allowedImports: []string{"internal/sim"}},

	// Floor 2: the controller.
	{dir: "client", floor: 2, side: controller, allowedImports: []string{"report"}},
	{dir: "internal/controller/keyring", floor: 2, side: controller, allowedImports: []string{"internal/durable"}},
	{dir: "internal/controller/servercert", floor: 2, side: controller, allowedImports: []string{"internal/durable"}},
	{dir: "internal/controller/objects", floor: 2, side: controller, allowedImports: []string{"internal/durable"}},
	{dir: "internal/testkit/treesuite", floor: 2, side: controller,
		allowedImports: []string{"internal/durable", "internal/controller/objects"}},
	{dir: "internal/controller/objects/s3", floor: 2, side: controller,
		allowedImports: []string{"internal/durable", "internal/controller/objects"},
		libraries:      []string{"github.com/minio/minio-go/v7"}},
	{dir: "internal/controller/repository", floor: 2, side: controller,
		allowedImports: []string{"internal/controller/objects", "internal/choice",
			"load", "internal/durable", "internal/tuf", "trust"},
		libraries: []string{"github.com/theupdateframework/go-tuf/v2", "github.com/sigstore/sigstore"}},
	{dir: "internal/controller/publish", floor: 2, side: controller, allowedImports: []string{"load",
		"internal/controller/repository"}},
	{dir: "internal/controller/template", floor: 2, side: controller, allowedImports: []string{"internal/policy",
		"internal/provision"}},
	{dir: "internal/controller/passhash", floor: 2, side: controller, allowedImports: nothing,
		libraries: []string{"golang.org/x/crypto"}},
	{dir: "internal/controller/site", floor: 2, side: controller, pure: true, allowedImports: nothing},
	{dir: "internal/controller/window", floor: 2, side: controller, pure: true,
		allowedImports: []string{"internal/controller/site"}},
	{dir: "internal/controller/rollout", floor: 2, side: controller, pure: true,
		allowedImports: []string{"internal/parse", "internal/controller/window"}},
	{dir: "internal/controller/rollout/keeper", floor: 2, side: controller, still: true,
		allowedImports: []string{"internal/controller/window", "internal/controller/rollout"}},
	{dir: "internal/controller/stepping", floor: 2, side: controller, pure: true, allowedImports: nothing},
	{dir: "internal/controller/saving", floor: 2, side: controller, pure: true, allowedImports: []string{"report"}},
	{dir: "internal/controller/webhook", floor: 2, side: controller, pure: true, allowedImports: nothing},
	{dir: "internal/controller/diff", floor: 2, side: controller, pure: true, allowedImports: nothing},
	{dir: "internal/controller/together", floor: 2, side: controller, allowedImports: nothing},
	{dir: "internal/controller/domain", floor: 2, side: controller, allowedImports: []string{"internal/choice", "load",
		"internal/parse", "internal/policy", "report", "internal/controller/repository",
		"internal/controller/publish", "internal/controller/passhash",
		"internal/controller/site", "internal/controller/rollout", "internal/controller/stepping",
		"internal/controller/saving", "internal/controller/webhook", "internal/controller/diff",
		"internal/controller/together"}},
	{dir: "internal/controller/bulk/table", floor: 2, side: controller, pure: true,
		allowedImports: []string{"internal/choice", "internal/policy"},
		libraries:      []string{"github.com/xuri/excelize/v2", "golang.org/x/text"}},
	{dir: "internal/controller/bulk/words", floor: 2, side: controller, pure: true, allowedImports: nothing},
	{dir: "internal/controller/filesets", floor: 2, side: controller, still: true,
		allowedImports: []string{"internal/policy", "internal/controller/domain"}},
	{dir: "internal/controller/bulk", floor: 2, side: controller, allowedImports: []string{"load", "internal/policy",
		"internal/controller/bulk/table", "internal/controller/domain"}},
	{dir: "internal/controller/summary", floor: 2, side: controller, still: true,
		allowedImports: []string{"internal/choice", "report", "internal/controller/saving", "internal/controller/domain"}},
	{dir: "internal/controller/forecast", floor: 2, side: controller,
		allowedImports: []string{"load", "internal/pieces", "internal/sim", "internal/predict",
			"internal/controller/domain"}},
	{dir: "internal/controller/rollouts", floor: 2, side: controller, still: true,
		allowedImports: []string{"internal/choice", "report", "internal/device/reason",
			"internal/controller/forecast", "internal/controller/window",
			"internal/controller/rollout", "internal/controller/rollout/keeper", "internal/controller/together",
			"internal/controller/domain"}},
	{dir: "internal/controller/webhooks", floor: 2, side: controller, still: true,
		allowedImports: []string{"internal/choice", "internal/controller/rollout", "internal/controller/webhook",
			"internal/controller/domain", "internal/controller/summary"}},
	{dir: "internal/controller/orders", floor: 2, side: controller,
		allowedImports: []string{"internal/choice", "internal/parse", "internal/order", "internal/durable",
			"internal/controller/domain", "report"}},
	{dir: "internal/controller/livesite", floor: 2, side: controller,
		allowedImports: []string{"internal/live", "internal/order", "internal/durable", "internal/controller/domain"}},
	{dir: "internal/testkit/keepersuite", floor: 2, side: controller,
		allowedImports: []string{"internal/controller/rollout", "internal/controller/rollout/keeper"}},
	{dir: "internal/controller/store", floor: 2, side: controller, allowedImports: []string{"load", "internal/policy",
		"report", "internal/controller/domain"}, libraries: []string{"github.com/pressly/goose/v3"}},
	{dir: "internal/pgserver", floor: 2, side: controller, allowedImports: nothing},
	{dir: "internal/testkit/storesuite", floor: 2, side: controller, libraries: []string{"pgregory.net/rapid"}},
	{dir: "internal/controller/store/sqlite", floor: 2, side: controller, libraries: []string{"modernc.org/sqlite",
		"github.com/pressly/goose/v3"}},
	{dir: "internal/testkit/freshdb", floor: 2, side: controller,
		allowedImports: []string{"internal/controller/store/sqlite"}},
	{dir: "internal/testkit/realmsuite", floor: 2, side: controller, allowedImports: []string{"internal/policy", "report",
		"internal/controller/repository", "internal/controller/publish", "internal/controller/passhash",
		"internal/controller/rollout", "internal/controller/domain", "internal/controller/store/sqlite"}},
	{dir: "internal/controller/store/postgres", floor: 2, side: controller,
		libraries: []string{"github.com/jackc/pgx/v5", "github.com/pressly/goose/v3"}},
	{dir: "internal/controller/replica", floor: 2, side: controller,
		allowedImports: []string{"internal/durable", "internal/controller/store/postgres"}},
	{dir: "internal/controller/console", floor: 2, side: controller, allowedImports: []string{"client",
		"internal/parse", "internal/terminal", "internal/cli/strict", "internal/controller/bulk/table",
		"internal/controller/keyring"}, libraries: commandLibraries},
	{dir: "internal/controller/rollouts/draft", floor: 2, side: controller, allowedImports: []string{"client"},
		libraries: commandLibraries},
	{dir: "internal/controller/rollouts/jobs", floor: 2, side: controller,
		allowedImports: []string{"internal/controller/rollout/keeper", "internal/controller/domain",
			"internal/controller/store", "internal/controller/store/sqlite", "internal/controller/store/postgres"},
		libraries: []string{"github.com/riverqueue/river", "github.com/riverqueue/river/riverdriver",
			"github.com/riverqueue/river/riverdriver/riverdatabasesql", "github.com/riverqueue/river/riverdriver/riversqlite",
			"github.com/riverqueue/river/rivertype"}},
	{dir: "internal/controller/behind", floor: 2, side: controller, allowedImports: nothing,
		libraries: []string{"github.com/pires/go-proxyproto"}},
	{dir: "internal/controller/files", floor: 2, side: controller,
		allowedImports: []string{"internal/controller/behind", "internal/controller/objects", "internal/ratelimit", "tftp"},
		libraries:      []string{"github.com/prometheus/client_golang", "golang.org/x/sys"}},
	{dir: "internal/controller/files/cnf", floor: 2, side: controller, allowedImports: []string{"internal/policy",
		"internal/provision", "internal/controller/template", "internal/controller/domain",
		"internal/controller/rollouts"}},
	{dir: "internal/controller/syslog", floor: 2, side: controller, allowedImports: []string{"internal/durable",
		"internal/rfc5424", "internal/controller/domain"},
		libraries: []string{"github.com/prometheus/client_golang"}},
	{dir: "internal/controller/oidc", floor: 2, side: controller, allowedImports: []string{"internal/controller/domain"},
		libraries: []string{"github.com/coreos/go-oidc/v3", "golang.org/x/oauth2"}},
	{dir: "internal/controller/services", floor: 2, side: controller, allowedImports: []string{
		"internal/controller/domain", "internal/controller/bulk", "internal/controller/orders",
		"internal/controller/rollouts", "internal/controller/rollouts/jobs", "internal/controller/filesets",
		"internal/controller/forecast", "internal/controller/livesite",
		"internal/controller/summary",
		"internal/controller/webhooks", "internal/controller/rollout",
		"internal/controller/files/cnf", "internal/order"}},
	{dir: "internal/controller/inprocess", floor: 2, side: controller, allowedImports: nothing},
	{dir: "internal/controller/api", floor: 2, side: controller, allowedImports: []string{"internal/choice", "load",
		"internal/durable",
		"internal/policy", "report", "internal/order", "internal/controller/publish", "internal/controller/domain",
		"internal/controller/orders", "internal/controller/oidc", "internal/controller/stepping",
		"internal/controller/rollout", "internal/controller/rollouts", "internal/controller/bulk",
		"internal/controller/bulk/table", "internal/controller/filesets", "internal/controller/forecast",
		"internal/controller/services", "internal/controller/objects",
		"internal/controller/saving", "internal/controller/summary",
		"internal/controller/webhook", "internal/controller/webhooks",
		"internal/controller/livesite", "internal/live", "internal/controller/inprocess"},
		libraries: []string{"github.com/danielgtaylor/huma/v2", "github.com/prometheus/client_golang"}},
	{dir: "internal/controller/pages/words", floor: 2, side: controller, pure: true, allowedImports: nothing},
	{dir: "internal/controller/pages/frame", floor: 2, side: controller, allowedImports: []string{"client",
		"internal/device/wording", "internal/controller/domain", "internal/controller/inprocess",
		"internal/controller/pages/words"}},
	{dir: "internal/controller/pages/reports", floor: 2, side: controller, allowedImports: []string{"client", "report",
		"internal/device/wording", "internal/controller/pages/frame"}},
	{dir: "internal/controller/pages/drafts", floor: 2, side: controller, allowedImports: []string{"client",
		"internal/device/reason", "internal/device/wording", "internal/controller/pages/frame"}},
	{dir: "internal/controller/pages", floor: 2, side: controller, allowedImports: []string{"client", "report",
		"internal/device/reason", "internal/device/wording", "internal/controller/pages/words",
		"internal/controller/bulk/words",
		"internal/controller/pages/frame", "internal/controller/pages/reports", "internal/controller/pages/drafts"}},

	// Floor 3: the product from outside. The laboratory sees a device only as a user
	// does.
	{dir: "internal/lab/units", floor: 3, side: outside, pure: true,
		allowedImports: []string{"internal/choice", "internal/parse", "internal/terminal"}},
	{dir: "internal/lab/site", floor: 3, side: outside, allowedImports: []string{"internal/ratelimit",
		"internal/lab/units"},
		libraries: []string{"golang.org/x/sys", "github.com/vishvananda/netlink", "github.com/vishvananda/netns"}},
	{dir: "internal/lab/fileserver", floor: 3, side: outside, libraries: []string{"golang.org/x/sys"},
		allowedImports: []string{"internal/lab/units", "internal/lab/site", "tftp", "internal/controller/files"}},
	{dir: "internal/lab/process", floor: 3, side: outside, libraries: []string{"golang.org/x/sys"},
		allowedImports: []string{"internal/lab/units", "internal/lab/site", "load", "report"}},
	{dir: "internal/lab/output", floor: 3, side: outside, allowedImports: []string{"internal/lab/process", "report"}},
	{dir: "internal/lab/measure", floor: 3, side: outside, allowedImports: []string{"internal/choice",
		"internal/lab/units",
		"internal/lab/site",
		"internal/lab/fileserver", "internal/lab/process", "internal/lab/output", "report"}},
	{dir: "internal/lab/bench", floor: 3, side: outside, allowedImports: []string{"internal/choice", "internal/lab/units",
		"internal/lab/site",
		"internal/lab/process", "internal/lab/output", "internal/lab/measure"}},
	{dir: "internal/lab/story", floor: 3, side: outside, libraries: []string{"golang.org/x/sys"},
		allowedImports: []string{"internal/choice",
			"internal/lab/units", "internal/lab/site", "internal/lab/fileserver", "internal/lab/process", "internal/lab/output",
			"load", "report"}},
	{dir: "internal/lab/rounds", floor: 3, side: outside, libraries: []string{"golang.org/x/sys"},
		allowedImports: []string{"internal/lab/units", "internal/lab/site", "internal/lab/process", "load", "trust",
			"pdp/wire"}},
	{dir: "internal/lab/updaters", floor: 3, side: outside, allowedImports: []string{"internal/lab/units",
		"internal/lab/site", "internal/lab/fileserver"}},
	{dir: "internal/lab/idle", floor: 3, side: outside, allowedImports: []string{"internal/lab/units",
		"internal/lab/site"}},
	{dir: "internal/lab/demo", floor: 3, side: outside, allowedImports: []string{
		"internal/lab/units", "internal/lab/site", "internal/lab/fileserver", "internal/lab/process", "internal/lab/output",
		"load", "report", "trust", "internal/controller/repository", "internal/controller/publish", "internal/live",
		"pdp/wire", "internal/controller/livesite", "internal/controller/pages"}},
	{dir: "cmd/peerload/internal/hook", floor: 3, side: outside, allowedImports: []string{"internal/cli",
		"internal/device/hookunit"}},
	{dir: "cmd/peerload", floor: 3, side: outside, libraries: []string{"github.com/spf13/pflag", "golang.org/x/term"}},
	{dir: "cmd/peerload-get", floor: 3, side: outside, allowedImports: []string{"load", "report", "internal/parse",
		"internal/printable", "internal/cli", "internal/version", "internal/device/exit", "internal/device/fetch",
		"internal/device/serverflags"}},
	{dir: "cmd/peerload-server/internal/summary", floor: 3, side: outside, allowedImports: []string{"client",
		"internal/cli/strict", "internal/controller/console", "internal/device/wording", "internal/parse",
		"internal/terminal"}, libraries: commandLibraries},
	{dir: "cmd/peerload-server/internal/hook", floor: 3, side: outside, allowedImports: []string{"client",
		"internal/cli/strict", "internal/controller/console", "internal/terminal"}, libraries: commandLibraries},
	{dir: "cmd/peerload-server", floor: 3, side: outside, libraries: commandLibraries},
	{dir: "cmd/peerload-lab", floor: 3, side: outside, libraries: commandLibraries},
	{dir: "internal/testkit/netsuite", floor: 3, side: outside, allowedImports: []string{"pdp/wire",
		"internal/device/peernet"}},
	{dir: "internal/testkit/publisher", floor: 3, side: outside},
	{dir: "internal/testkit/labtest", floor: 3, side: outside, allowedImports: []string{"load", "report", "trust"}},
	{dir: "internal/testkit/foreign", floor: 3, side: outside, allowedImports: nothing},
	{dir: "internal/testkit/browser", floor: 3, side: outside, allowedImports: nothing,
		libraries: []string{"github.com/chromedp/chromedp", "github.com/chromedp/cdproto"}},
	{dir: "internal/testkit/filesystem", floor: 3, side: outside, allowedImports: nothing,
		libraries: []string{"github.com/hanwen/go-fuse/v2"}},
	{dir: "internal/testkit/otheruser", floor: 3, side: outside, allowedImports: nothing},
	{dir: "internal/testkit/issuer", floor: 3, side: outside, allowedImports: nothing,
		libraries: []string{"github.com/zitadel/oidc/v3", "github.com/go-jose/go-jose/v4"}},
	{dir: "internal/testkit/parallel", floor: 3, side: outside, allowedImports: nothing},
	{dir: "internal/testkit/limits", floor: 3, side: outside, allowedImports: nothing},
	{dir: "internal/testkit/golden", floor: 3, side: outside, allowedImports: nothing},
	{dir: "internal/testkit/manual", floor: 3, side: outside, allowedImports: nothing, libraries: commandLibraries},
	{dir: "internal/house", floor: 3, side: outside, allowedImports: nothing},
	{dir: "internal/tool", floor: 3, side: outside, allowedImports: nothing},
	{dir: "internal/fuzzing", floor: 3, side: outside, allowedImports: []string{"internal/tool"}},
	{dir: "internal/programs", floor: 3, side: outside, allowedImports: nothing},
	{dir: "internal/packaging", floor: 3, side: outside, allowedImports: []string{"internal/tool", "internal/programs"}},
	{dir: "packaging/containers", floor: 3, side: outside, allowedImports: nothing, // a module of its own
		libraries: []string{"github.com/google/go-containerregistry", "github.com/compose-spec/compose-go/v2",
			"golang.org/x/crypto/x509roots/fallback", "k8s.io/api", "sigs.k8s.io/yaml"}},
	{dir: "internal/mutate", floor: 3, side: outside, allowedImports: []string{"internal/tool"}},
	{dir: "internal/release", floor: 3, side: outside, libraries: []string{"github.com/CycloneDX/cyclonedx-go"},
		allowedImports: []string{"internal/tool", "internal/programs", "internal/sums", "internal/version", "load"}},
	{dir: "internal/powercut", floor: 3, side: outside, allowedImports: []string{"internal/tool"}},
	{dir: "internal/fleet", floor: 3, side: outside},
	{dir: "e2e", floor: 3, side: outside, allowedImports: nothing},
	{dir: "e2e/cluster", floor: 3, side: outside, allowedImports: nothing},
}

var commandLibraries = []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term"}

// impure are what a pure package may not import; a name that ends in a slash
// stands for all below it.
var impure = []string{
	"os", "os/", "net", "net/", "syscall", "unsafe", "runtime", "runtime/", "io/ioutil", "path/filepath", "plugin",
	"log", "log/", "context", "sync", "sync/", "crypto/rand", "math/rand",
}

// harmless is below a name of impure and yet allowed.
var harmless = []string{"net/netip", "net/url"}

// heavy are what no device may carry: databases, page templates, frameworks,
// and what is for tests.
var heavy = []string{
	"database/", "html/", "text/template", "text/template/", "net/rpc", "net/rpc/", "net/http/pprof", "expvar",
	"encoding/gob", "testing", "testing/", "plugin",
}

// clock are the names of package time by which a program sees or waits for it.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

// chance are the names of math/rand/v2 that take the source that is passed in;
// all others draw from a global one.
var chance = []string{"Rand", "Source", "New", "NewPCG", "PCG", "NewChaCha8", "ChaCha8", "NewZipf", "Zipf"}
