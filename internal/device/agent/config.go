package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/proxy"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/load"
)

// Config is the configuration on the device itself. Package policy has the
// settings that are provisioned over the network.
type Config struct {
	// Servers that provision the device, in the order to ask: HOST, HOST:PORT,
	// HOST/PATH or a URL. Empty, the default: those of Leases, as phones do it.
	Servers []string
	// Leases are the files in which a DHCP client leaves options 150 and 66; a
	// pattern means all files that match. The first that names a server counts.
	// The default has those of the DHCP clients that are common. Empty: only
	// Servers are asked.
	Leases []string
	// Provision is a provisioning file on this host, used instead of asking
	// servers for one: .xml, .toml or .json. "", the default: ask the servers.
	Provision string
	// Controller is the URL of the controller that check-ins go to. "", the
	// default: none, and the device runs as well.
	Controller string
	// TokenFile holds the enrolment token or site key that makes the device
	// known to the controller; afterwards it has a secret of its own. "":
	// there is none, or the device is enrolled already.
	TokenFile string
	// CACert is a file of CA certificates that HTTPS servers are verified
	// against, PEM. "", the default: the system's.
	CACert string
	// State is the directory of everything that survives a restart. Required;
	// /var/lib/peerload by default.
	State string
	// Trust is the directory with the publisher's root.json;
	// /etc/peerload/trust by default, which a package can bring. "": no signed
	// load can be verified.
	Trust string
	// TrustNamed says that Trust was asked for, be it "": the device runs signed
	// loads only, even if the directory has no usable root. False, the default:
	// that holds only once there was a root.
	TrustNamed bool
	// Model of this device, in any spelling of a model table. Required: no
	// default could be right.
	Model string
	// MAC address, which names the provisioning file. "", the default: that of
	// the interface of Address.
	MAC string
	// Address of this device with its prefix. Zero, the default: that of
	// Interface.
	Address netip.Prefix
	// Interface to take Address from. "", the default: that of the default
	// route.
	Interface string
	// Port of the peers, UDP and TCP. 0: 4051, the default and the original's.
	Port uint16
	// CheckIn is the time between two check-ins, plus or minus a tenth so that
	// devices do not come together; at least a second. 15 minutes by default: a
	// new load is found soon, and 1,000 devices ask about once a second.
	CheckIn time.Duration
	// Hook is the program that installs loads: see Installer. "", the default:
	// only the slots are switched.
	Hook string
	// FileHook is the program that is told when a file set was put in place or taken
	// away. "", the default: nobody is told, and programs that open a file find the one
	// that is there.
	FileHook string
	// HookTimeout bounds one call of Hook, FileHook, RebootCommand or ConfirmCommand.
	// Required; 10 minutes by default, in which slow flash memory is written.
	HookTimeout time.Duration
	// RebootCommand restarts the device into the active slot. "", the default:
	// switching the slot is enough.
	RebootCommand string
	// ConfirmCommand says with exit status 0 that the new load works. "", the
	// default: it works once the device was provisioned again.
	ConfirmCommand string
	// ConfirmTimeout is how long a new load has to be confirmed before the
	// device goes back. Required; 5 minutes by default, in which a device
	// starts and finds its server more than once.
	ConfirmTimeout time.Duration
	// YieldFile is a file that is there while this device yields, as during a call. "",
	// the default: only programs say so, at the socket.
	YieldFile string
	// BootID is a file whose content changes with each start of the device.
	// Required; by default that of the Linux kernel.
	BootID string
	// MetricsAddress is where metrics are served, as IP:PORT. "", the default:
	// nowhere, because they have no password.
	MetricsAddress string
	// PageAddress is where the device's page is served, as IP:PORT. "", the
	// default: nowhere, for the same reason.
	PageAddress string
	// ProxyAddress is where the proxy for other programs listens, IP:PORT on
	// loopback. "", the default: nowhere.
	ProxyAddress string
	// ProxyRules say what the proxy shares beside what has a digest. None, the
	// default: nothing else.
	ProxyRules sharing.Rules
	// ProxyKeep is the most bytes that the copies of the proxy take. 0:
	// proxy.DefaultKeep; the option's default is the same.
	ProxyKeep int64
	// LogLevel is debug, info, warn or error; info by default.
	LogLevel string
	// LogFormat is text, the default, or json.
	LogFormat string
	// NoSync leaves out every fsync of files, for laboratories that run many
	// devices on one disk. False, the default: a power cut loses nothing.
	NoSync bool
}

// settled is the configuration in force, with what is derived from it.
type settled struct {
	log   *slog.Logger
	lines quota // of all programs

	mu        sync.Mutex
	cfg       Config
	installer Installer
	origin    *origin.Mux // for provisioning; the instance has its own for loads
}

// settle makes what the configuration asks for.
func settle(c Config, log *slog.Logger) (*settled, error) {
	m, err := newOrigin(instanceKey{address: c.Address, cacert: c.CACert})
	s := &settled{log: log, cfg: c, origin: m}
	s.installer = newInstaller(c, log, &s.lines)
	return s, err
}

// get returns the configuration.
func (s *settled) get() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

func (s *settled) installs() Installer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.installer
}

func (s *settled) asks() *origin.Mux {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.origin
}

// change puts another configuration in force and returns it. Options that
// cannot change while the daemon runs keep their values, and the log names
// them.
func (s *settled) change(c Config) Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.cfg
	fixed := map[string]bool{"state": c.State != old.State, "mac": c.MAC != old.MAC, "boot-id": c.BootID != old.BootID,
		"page-address": c.PageAddress != old.PageAddress, "metrics-address": c.MetricsAddress != old.MetricsAddress,
		"proxy-address": c.ProxyAddress != old.ProxyAddress, "proxy-keep": c.ProxyKeep != old.ProxyKeep,
		ruleOption: !slices.EqualFunc(c.ProxyRules, old.ProxyRules, func(a, b sharing.Rule) bool {
			return a.String() == b.String()
		}),
		"controller": (c.Controller == "") != (old.Controller == ""), "log-level": c.LogLevel != old.LogLevel,
		"log-format": c.LogFormat != old.LogFormat}
	for name, differs := range fixed {
		if differs {
			s.log.Warn("takes effect at the next start", "option", name)
		}
	}
	c.State, c.MAC, c.BootID = old.State, old.MAC, old.BootID
	s.cfg = c
	if m, err := newOrigin(instanceKey{address: c.Address, cacert: c.CACert}); err == nil {
		s.origin.Close()
		s.origin = m
	} else {
		s.log.Error("the configuration is not in force as a whole", "error", err)
	}
	s.installer = newInstaller(c, s.log, &s.lines)
	return c
}

// Validate says what is wrong and what to do. It uses no network.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, s := range c.Servers {
		urls, err := candidates(s, "x")
		if err == nil {
			err = choice.Value("the scheme", urls[0].Scheme, []string{"http", "https", "tftp", "file"})
		}
		if err != nil {
			bad("server: %w", err)
		}
	}
	if c.Controller != "" {
		if u, err := url.Parse(c.Controller); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			// Not the value: it may hold a password.
			bad("controller: write an http or https URL, such as https://controller:8443")
		}
	}
	if c.State == "" {
		bad("state: name a directory")
	}
	if c.Model == "" || len(c.Model) > load.MaxTextLen {
		bad("model: say what this device is, for example CP-7961G or linux-arm")
	}
	if c.MAC != "" {
		if _, err := parse.MAC(strings.TrimSpace(c.MAC)); err != nil {
			bad("mac: %w", err)
		}
	}
	if c.CheckIn < time.Second {
		bad("check-in is 1s or longer, not %v", c.CheckIn)
	}
	if c.HookTimeout <= 0 || c.ConfirmTimeout <= 0 {
		bad("hook-timeout and confirm-timeout are longer than 0s")
	}
	for name, a := range map[string]string{"metrics-address": c.MetricsAddress, "page-address": c.PageAddress} {
		if _, err := netip.ParseAddrPort(a); a != "" && err != nil {
			bad("%s is IP:PORT, such as 127.0.0.1:8090, not %q", name, a)
		}
	}
	if a, err := netip.ParseAddrPort(c.ProxyAddress); c.ProxyAddress != "" && (err != nil || !a.Addr().IsLoopback()) {
		bad("proxy-address is IP:PORT on loopback, such as %s, not %q", proxy.DefaultAddress, c.ProxyAddress)
	}
	if c.ProxyKeep < 0 {
		bad("proxy-keep must not be negative")
	}
	return errors.Join(errs...)
}

// CheckHost says what the configuration names and this host does not have, and
// what to do. The agent itself starts nevertheless: a hook may come later, and a
// new model must not wait for a table.
func (c *Config) CheckHost() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if table := policy.Builtin(); !table.Lookup(c.Model).Known() {
		var names []string
		for _, m := range table.Models() {
			names = append(names, m.Name)
		}
		bad("model: %w", choice.Unknown("model", c.Model, names))
	}
	if c.Hook != "" {
		if _, err := exec.LookPath(c.Hook); err != nil {
			bad("hook: %w; name a program that can be run", err)
		}
	}
	if c.TrustNamed && c.Trust != "" {
		if info, err := os.Stat(c.Trust); err != nil {
			bad("trust: %w; make it, with the publisher's root.json in it", err)
		} else if !info.IsDir() {
			bad("trust: %s is no directory; name the one with the publisher's root.json", c.Trust)
		}
	}
	if c.Provision != "" {
		if _, err := os.Stat(c.Provision); err != nil {
			bad("provision: %w; leave it out to ask the servers", err)
		}
	}
	if _, err := certificates(c.CACert); err != nil {
		bad("cacert: %w", err)
	}
	return errors.Join(errs...)
}

// candidates returns the URLs of a file on a server, in the order to try.
func candidates(server, file string) ([]*url.URL, error) {
	// Of http:// alone nothing is cut off, else the file would be the host.
	if base := strings.TrimSuffix(server, "/"); !strings.HasSuffix(base, ":/") {
		server = base
	}
	return origin.Candidates(server + "/" + file)
}
