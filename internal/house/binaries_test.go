package house

import (
	"maps"
	"slices"
	"testing"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// program says what a program of this module may be linked from.
type program struct {
	dir string
	// archs are those that it is built for beside amd64.
	archs []string
	// never are packages, and all below them where the name ends in a slash,
	// that may not be linked in, by whichever way.
	never []string
	// but are those among never that may.
	but []string
	// modules are all modules of others whose packages are linked in.
	modules []string
}

// signedMetadata is what go-tuf brings: its signing interfaces are sigstore's,
// whose package of signatures also reads container images' names and protocol
// buffers. Nothing of ours uses those, and they cost a device 2 MiB. No version
// or build tag of either module is without them; what would be left is a
// replacement of sigstore's package in go.mod, and with one nobody could
// install a program by its module path.
var signedMetadata = []string{
	"github.com/google/go-containerregistry", "github.com/opencontainers/go-digest",
	"github.com/secure-systems-lab/go-securesystemslib",
	"github.com/sigstore/protobuf-specs", "github.com/sigstore/sigstore", "github.com/theupdateframework/go-tuf/v2",
	"google.golang.org/genproto/googleapis/api", "google.golang.org/protobuf",
}

// database are the packages of SQL and its drivers, templates those that fill
// in text.
var (
	database  = []string{"database/", "modernc.org/", "github.com/jackc/", "github.com/pressly/"}
	templates = []string{"text/template", "text/template/", "html/"}
	forTests  = []string{"testing", "testing/", "net/http/httptest", module + "/internal/testkit/", "pgregory.net/"}
)

// programs are all programs, with everything that they are linked from.
var programs = []program{
	{
		dir:   "cmd/peerload",
		archs: []string{"arm", "mipsle"},
		never: slices.Concat(database, templates, forTests, []string{
			module + "/internal/controller/", module + "/internal/lab/", module + "/internal/sim", module + "/client",
			"github.com/spf13/cobra", "github.com/danielgtaylor/", "github.com/prometheus/", "net/rpc", "net/rpc/",
			"net/http/pprof", "expvar",
			"encoding/gob", "plugin",
		}),
		modules: slices.Concat(signedMetadata, []string{
			"github.com/BurntSushi/toml", "github.com/clipperhouse/uax29/v2", "github.com/mattn/go-runewidth",
			"github.com/spf13/pflag", "github.com/ulikunitz/xz", "golang.org/x/crypto", "golang.org/x/sys",
			"golang.org/x/term",
		}),
	},
	{
		dir:   "cmd/peerload-get",
		archs: []string{"arm", "mipsle"},
		never: slices.Concat(database, templates, forTests, []string{
			module + "/internal/controller/", module + "/internal/lab/", module + "/internal/sim", module + "/client",
			module + "/trust", module + "/internal/device/agent", module + "/internal/device/proxy", "regexp", "regexp/",
			"os/exec", "plugin", "expvar",
		}),
		modules: []string{"github.com/spf13/pflag", "golang.org/x/sys"}, // no TUF, no cobra
	},
	{
		dir: "cmd/peerload-server",
		// It has the simulator: plans say what an upgrade will take.
		never: slices.Concat(forTests, []string{module + "/internal/device/", module + "/internal/lab/"}),
		// Reports say reasons in the device's words: texts, and nothing that a device does.
		but: []string{module + "/internal/device/wording", module + "/internal/device/reason"},
	},
	{
		dir: "cmd/peerload-lab",
		never: slices.Concat(database, forTests, []string{module + "/internal/device/",
			module + "/internal/controller/domain", module + "/internal/controller/api"}),
		// The simulator's traces are in the device's words: texts, and nothing that a device
		// does. The demo shows the controller's own live page, whose frame knows the rights
		// of the domain; there is no database behind it.
		but: []string{module + "/internal/device/wording", module + "/internal/device/reason",
			module + "/internal/controller/domain"},
	},
}

// TestPrograms: what each program is linked from, told by the linker's own
// list and not by what its packages say that they import.
func TestPrograms(t *testing.T) {
	tiers.Long(t, "it reads the whole tree")
	for _, p := range programs {
		for _, arch := range append([]string{"amd64"}, p.archs...) {
			t.Run(p.dir+"/"+arch, func(t *testing.T) {
				for _, problem := range p.check(goList(t, arch, "-deps", "./"+p.dir)) {
					t.Error(problem)
				}
			})
		}
	}
}

// check tells what of deps p may not be linked from, and what p.modules names
// in vain.
func (p program) check(deps []listed) (problems []string) {
	importers := map[string]string{}
	found := map[string]bool{}
	for _, d := range deps {
		for _, i := range d.Imports {
			importers[i] = d.ImportPath
		}
		if d.Module != nil && d.Module.Path != module {
			found[d.Module.Path] = true
		}
	}
	for _, d := range deps {
		if matches(p.never, d.ImportPath) && !slices.Contains(p.but, d.ImportPath) {
			problems = append(problems, d.ImportPath+" is linked in by "+importers[d.ImportPath]+" and may not be")
		}
	}
	if p.modules == nil {
		return problems
	}
	for _, m := range slices.Sorted(maps.Keys(found)) {
		if !slices.Contains(p.modules, m) {
			problems = append(problems, "the module "+m+" is linked in and not in the list of "+p.dir)
		}
	}
	for _, m := range p.modules {
		if !found[m] {
			problems = append(problems, "the module "+m+" is in the list of "+p.dir+" and not linked in")
		}
	}
	return problems
}

// TestProgramsCanBeWrong shows that each kind of problem is found.
func TestProgramsCanBeWrong(t *testing.T) {
	mod := func(path string) *struct{ Path string } { return &struct{ Path string }{path} }
	p := program{dir: "cmd/x", never: []string{"text/template", "database/"}, modules: []string{"example.org/used",
		"example.org/unused"}}
	got := p.check([]listed{
		{ImportPath: "text/template"}, {ImportPath: "text/templates"}, {ImportPath: "database/sql",
			Imports: []string{"text/template"}},
		{ImportPath: "example.org/used/a", Module: mod("example.org/used")}, {ImportPath: "example.org/new",
			Module: mod("example.org/new"), Imports: []string{"database/sql"}},
		{ImportPath: module + "/load", Module: mod(module)},
	})
	want := []string{
		"text/template is linked in by database/sql and may not be",
		"database/sql is linked in by example.org/new and may not be",
		"the module example.org/new is linked in and not in the list of cmd/x",
		"the module example.org/unused is in the list of cmd/x and not linked in",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
