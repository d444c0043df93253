package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// decoders are functions of other packages that make something of bytes or text
// that may be from outside: who calls one is a reader.
var decoders = regexp.MustCompile(`^(` + strings.Join([]string{
	`encoding/json\.Unmarshal`, `\(\*encoding/(json|xml)\.Decoder\)\.(Decode|Token|RawToken)`, `encoding/xml\.Unmarshal`,
	`\(\*encoding/csv\.Reader\)\.Read(All)?`, `github\.com/BurntSushi/toml\.\w+`,
	`strconv\.(Parse\w+|Atoi|Unquote)`, `encoding/hex\.Decode\w*`, `\(\*encoding/base64\.Encoding\)\.Decode\w*`,
	`\(encoding/binary\.\w+\)\.Uint\d+`, `encoding/binary\.U?[Vv]arint`, `encoding/pem\.Decode`, `crypto/x509\.Parse\w+`,
	`net/url\.Parse\w*`, `net/netip\.Parse\w+`, `net\.Parse\w+`, `net/http\.(ParseTime|ReadRequest|ReadResponse)`,
	`time\.Parse\w*`, `fmt\.(Sscan|Fscan)\w*`, `bufio\.NewScanner`, `mime\.ParseMediaType`, `mime/multipart\.NewReader`,
	`\(\*text/template\.Template\)\.Parse`, `\(\*github\.com/theupdateframework/go-tuf/v2/metadata\.Metadata\[.*\]\)\.FromBytes`,
}, "|") + `)$`)

// harmlessReaders are readers that no target reaches, each with the reason why
// none has to. What reads bytes from outside does not belong here.
var harmlessReaders = map[string]string{
	"(*cmd/peerload-lab.benchFlags).begin":                 "its own command line",
	"(*internal/device/engine.Device).accept":              "an address that the kernel tells",
	"(*internal/lab/measure.beside).call":                  "packets that the laboratory itself has sent",
	"(*internal/device/status.Dir).drawID":                 "random bytes",
	"(*internal/lab/site.Namespaces).Ports":                "a link that the laboratory has named",
	"internal/controller/webhooks.client":                  "an address that the resolver tells",
	"(*internal/sim.Task).tablePart":                       "tokens of the simulator",
	"(*internal/sim.end).read":                             "tokens of the simulator",
	"internal/release.checkOut":                            "the tree's own git, at the publisher's",
	"internal/release.readKey":                             "the publisher's own key",
	"internal/testkit/programs.Sources":                    "the go command's list of the tree's own packages",
	"internal/version.Of":                                  "what the linker wrote into the program itself",
	"(*internal/controller/domain.Controller).code":        "random bytes",
	"(*internal/controller/syslog.Sender).readMark":        "a file of its data directory",
	"(internal/controller/oidc.Config).Validate":           "its own command line",
	"cmd/peerload-server.safe":                             "its own command line",
	"cmd/peerload-server.networks":                         "its own command line",
	"internal/controller/behind.Listen":                    "an address that the kernel tells",
	"(*internal/controller/console.Age).Set":               "its own command line",
	"internal/controller/console.Moment":                   "its own command line",
	"internal/controller/oidc.loopback":                    "its own command line",
	"internal/controller/syslog.ParseTarget":               "its own command line",
	"(*internal/testkit/browser.Browser).Frames":           "what a browser of the tests says",
	"internal/testkit/issuer.meddled":                      "what an issuer of the tests sends",
	"internal/testkit/storesuite.PostgresPlan":             "what a server of the tests says of its plans",
	"(*internal/testkit/storesuite.Kept).Jobs":             "what it has written",
	"(*internal/testkit/realmsuite.Fleet).Others":          "what it has written",
	"cmd/peerload-lab.measured":                            "what the laboratory prints",
	"cmd/peerload-lab.newest":                              "the laboratory's command line: names of a directory",
	"cmd/peerload.checkNames":                              "its own command line",
	"cmd/peerload.clock":                                   "a time, which is shown as it is if it is none",
	"cmd/peerload.moment":                                  "a time, which is shown as it is if it is none",
	"(*cmd/peerload.proxyFlags).configs":                   "its own command line",
	"cmd/peerload.proxyStatus":                             "what a proxy of this device says, bounded",
	"internal/device/proxy.Listen":                         "its own command line",
	"internal/device/proxy.NamesItself":                    "its own environment",
	"cmd/peerload.watchdog":                                "the environment that the service manager sets",
	"(internal/controller/domain.past).site":               "what the controller itself has written to the audit log",
	"(internal/controller/domain.past).fileSets":           "likewise",
	"(*internal/controller/domain.Controller).setFromBack": "likewise",
	"internal/controller/diff.Read":                        "likewise; TestRead tries it",
	"internal/controller/rollouts/draft.parseTime":         "the administrator's own command line",
	"internal/controller/rollouts/draft.readPlan":          "the administrator's own file, bounded",
	"internal/controller/servercert.Generate":              "the controller's own command line",
	"internal/controller/passhash.parseHash":               "a hash that the controller itself has written",
	"internal/device/agent.findMAC":                        "an address that the kernel tells",
	"internal/device/agent.residentBytes":                  "what the kernel tells of the process",
	"internal/device/engine.NewDevice":                     "random bytes",
	"internal/device/origin.placeOfConn":                   "an address that the kernel tells",
	"internal/device/peernet.hostAddrs":                    "what the kernel tells of the interfaces",
	"internal/lab/bench.processorTicks":                    "what the kernel tells of the processors",
	"internal/lab/bench.uftp":                              "an address that the laboratory has given",
	"internal/lab/demo.fetchFirmware":                      "what the go command prints",
	"internal/lab/site.isPeerPort":                         "frames of the laboratory's own links",
	"internal/sim.ParseFault":                              "the laboratory's command line",
	"internal/packaging.commitDate":                        "what git prints",
	"internal/packaging.parseOptions":                      "the command line of who builds packages",
	"internal/mutate.listPackages":                         "what the go command prints",
	"internal/powercut.read":                               "what the tests print",
	"internal/fuzzing.listTargets":                         "what the go command prints",
	"internal/testkit/labtest.playDevice":                  "what a test says",
	"internal/testkit/faultdisk.most":                      "the environment of whoever runs the tests",
	"(*internal/fleet.fleet).visits":                       "what it has written",
	"internal/fleet.resident":                              "what the kernel says of this process",
	"internal/pgserver.unprivileged":                       "what the system tells of a user",
	"internal/controller/pages/frame.problemOf":            "an answer of the controller's own API",
	"(*internal/controller/pages/frame.Visit).Call":        "likewise",
	"internal/controller/pages.rootExpiry":                 "the controller's own root of trust",
	"(*internal/controller/pages/frame.Visit).Upload":      "likewise; the form goes on to it",
	"cmd/peerload.screenColumns":                           "the environment of its own user",
	"(*internal/testkit/browser.Browser).Barriers":         "what axe-core says in a browser of the tests",

	"(*internal/controller/domain.Controller).bringBack": "as domain.past",
}

// fuzzTable begins the rows of ARCHITECTURE.md that list the targets.
const fuzzTable = "| package | targets | what they read |\n|---|---|---|\n"

// TestFuzzTargets: ARCHITECTURE.md lists every target, and none that is not
// there; and a reader that no target reaches is known, with the reason.
func TestFuzzTargets(t *testing.T) {
	tiers.Long(t, "it checks the types of every package")
	g := readersOf(t)
	text, err := os.ReadFile(architecture)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range g.compare(listedTargets(string(text))) {
		t.Error(problem)
	}
	if len(g.readers) < 50 || len(g.targets) < 25 {
		t.Errorf("only %d readers and %d targets found", len(g.readers), len(g.targets))
	}
	record, err := os.ReadFile(root + "/internal/fuzzing/record.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\| (\S+) \| (Fuzz\w+) \|`).FindAllStringSubmatch(string(record), -1) {
		if !slices.Contains(g.targets, m[1]+"."+m[2]) {
			t.Errorf("internal/fuzzing/record.md has %s of %s, which is not there", m[2], m[1])
		}
	}
}

// listedTargets reads the table of a document, as "package.Target".
func listedTargets(text string) (targets []string) {
	_, rows, _ := strings.Cut(text, fuzzTable)
	rows, _, _ = strings.Cut(rows, "\n\n")
	for row := range strings.SplitSeq(rows, "\n") {
		cells := strings.Split(row, "|")
		if len(cells) < 4 {
			continue
		}
		for _, name := range regexp.MustCompile("Fuzz[A-Za-z0-9]+").FindAllString(cells[2], -1) {
			targets = append(targets, strings.Trim(cells[1], " `")+"."+name)
		}
	}
	return targets
}

// TestFuzzTargetsCanBeMissed shows that each kind of gap is found.
func TestFuzzTargetsCanBeMissed(t *testing.T) {
	g := reach{uses: map[string][]string{"p.FuzzA": {"p.a"}, "p.a": {".Read"}, "(*p.T).Read": {"p.b"}},
		readers: map[string]token.Position{"p.b": {}, "p.c": {}, "internal/sim.ParseFault": {}},
		methods: map[string][]string{"Read": {"(*p.T).Read"}}, targets: []string{"p.FuzzA", "p.FuzzB"}}
	listed := listedTargets("text\n" + fuzzTable + "| `p` | `FuzzA`, `FuzzC` | x |\n\n| `p` | `FuzzD` | y |\n")
	got := strings.Join(g.compare(listed), "\n")
	for _, want := range []string{"FuzzB of p is not in", "FuzzC of p, which", "p.c reads"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
	for _, wrong := range []string{"FuzzA", "FuzzD", "p.b reads", "ParseFault reads"} {
		if strings.Contains(got, wrong) {
			t.Errorf("%q is in:\n%s", wrong, got)
		}
	}
}

// reach is who uses whom, by the names of functions and of variables of
// packages, with folders in place of import paths. A method of an interface
// stands for all methods of that name, as ".Name".
type reach struct {
	uses    map[string][]string
	readers map[string]token.Position // where they call a decoder
	methods map[string][]string       // by name
	targets []string
}

// compare holds the targets against those that are listed, and the readers
// against the targets.
func (g *reach) compare(listed []string) (problems []string) {
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	split := func(target string) (pkg, name string) {
		i := strings.LastIndexByte(target, '.')
		return target[:i], target[i+1:]
	}
	for _, target := range g.targets {
		if pkg, name := split(target); !slices.Contains(listed, target) {
			add("%s of %s is not in the table of ARCHITECTURE.md: add it, with what it reads", name, pkg)
		}
	}
	for _, target := range listed {
		if pkg, name := split(target); !slices.Contains(g.targets, target) {
			add("ARCHITECTURE.md lists %s of %s, which is not there", name, pkg)
		}
	}
	reached := g.from(g.targets)
	for _, r := range sortedKeys(g.readers) {
		if !reached[r] && harmlessReaders[r] == "" {
			add("%s: %s reads what may be from outside, and no fuzz target reaches it: "+
				"write one, or say in harmlessReaders why not", g.readers[r], r)
		}
	}
	for _, r := range sortedKeys(harmlessReaders) {
		if _, reads := g.readers[r]; !reads || reached[r] {
			add("%s needs no place in harmlessReaders: it reads nothing, or a target reaches it", r)
		}
	}
	return problems
}

// checkedPackage is what TestFuzzTargets needs to know of a package.
type checkedPackage struct {
	ImportPath, Dir, Export            string
	GoFiles, TestGoFiles, XTestGoFiles []string
	TestImports, XTestImports          []string
}

// listChecked lists packages with what the compiler left of them.
func listChecked(t *testing.T, args ...string) (all []checkedPackage) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export",
		"-json=ImportPath,Dir,Export,GoFiles,TestGoFiles,XTestGoFiles,TestImports,XTestImports"}, args...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -export: %v\n%s", err, stderr.Bytes())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p checkedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// readersOf looks at all packages and their tests.
func readersOf(t *testing.T) *reach {
	t.Helper()
	own := listChecked(t, "./...")
	imports := map[string]bool{}
	for _, p := range own {
		for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
			imports[i] = true
		}
	}
	exports := map[string]string{}
	for _, p := range listChecked(t, append([]string{"-deps", "./..."}, sortedKeys(imports)...)...) {
		exports[p.ImportPath] = p.Export
	}
	g := &reach{uses: map[string][]string{}, readers: map[string]token.Position{}, methods: map[string][]string{}}
	fset := token.NewFileSet()
	// One for all: what a package exports is read once.
	gc := importer.ForCompiler(fset, "gc", func(p string) (io.ReadCloser, error) { return os.Open(exports[p]) })
	for _, p := range own {
		if err := g.addPackage(p, fset, gc); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// inTree is a name with folders in place of the import paths of this module.
func inTree(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, module+"/", ""), module, ".")
}

// addPackage adds a package and its tests.
func (g *reach) addPackage(p checkedPackage, fset *token.FileSet, gc types.Importer) error {
	var of types.Importer = gc
	for _, part := range []struct {
		path  string
		names []string
	}{{p.ImportPath, append(p.GoFiles, p.TestGoFiles...)}, {p.ImportPath + "_test", p.XTestGoFiles}} {
		var files []*ast.File
		for _, name := range part.names {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			files = append(files, f)
		}
		// Tests from outside see the package with what its own tests export.
		of = overlay{gc, p.ImportPath, g.check(fset, part.path, files, of)}
	}
	return nil
}

// overlay imports one package as it was just checked.
type overlay struct {
	types.Importer
	path string
	pkg  *types.Package
}

// Import implements types.Importer.
func (o overlay) Import(p string) (*types.Package, error) {
	if p == o.path {
		return o.pkg, nil
	}
	return o.Importer.Import(p)
}

// check type-checks one package and adds its declarations. An overlay makes two
// of a package that others import too; the errors that this gives do not matter,
// since names are compared and not types.
func (g *reach) check(fset *token.FileSet, own string, files []*ast.File, from types.Importer) *types.Package {
	d := declarations{g, fset, inTree(own), &types.Info{Defs: map[*ast.Ident]types.Object{},
		Uses: map[*ast.Ident]types.Object{}}, false}
	config := types.Config{Importer: from, Error: func(error) {}}
	pkg, _ := config.Check(own, fset, files, d.info)
	for _, f := range files {
		d.test = strings.HasSuffix(fset.Position(f.Pos()).Filename, "_test.go")
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				d.function(decl)
			case *ast.GenDecl:
				for _, s := range decl.Specs {
					if v, ok := s.(*ast.ValueSpec); ok {
						d.values(v)
					}
				}
			}
		}
	}
	return pkg
}

// declarations adds those of one package.
type declarations struct {
	*reach
	fset *token.FileSet
	own  string
	info *types.Info
	test bool // the file that is looked at
}

func (d *declarations) function(decl *ast.FuncDecl) {
	fn, ok := d.info.Defs[decl.Name].(*types.Func)
	if !ok {
		return
	}
	name := nameOf(fn)
	if decl.Recv != nil {
		d.methods[fn.Name()] = append(d.methods[fn.Name()], name)
	} else if d.test && strings.HasPrefix(fn.Name(), "Fuzz") {
		name = strings.TrimSuffix(d.own, "_test") + "." + fn.Name()
		d.targets = append(d.targets, name)
	}
	d.add(name, decl)
}

func (d *declarations) values(spec *ast.ValueSpec) {
	for _, id := range spec.Names {
		if d.info.Defs[id] != nil && id.Name != "_" {
			d.add(d.own+"."+id.Name, spec)
		}
	}
}

func nameOf(fn *types.Func) string { return inTree(fn.Origin().FullName()) }

// add adds what a declaration uses.
func (d *declarations) add(name string, n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		if !ok {
			return true
		}
		switch o := d.info.Uses[id].(type) {
		case *types.Func:
			used := nameOf(o)
			if _, have := d.readers[name]; decoders.MatchString(used) && !d.test && !have {
				d.readers[name] = d.fset.Position(id.Pos())
			}
			if recv := o.Signature().Recv(); recv != nil && types.IsInterface(recv.Type()) {
				used = "." + o.Name()
			}
			d.uses[name] = append(d.uses[name], used)
		case *types.Var:
			if o.Pkg() != nil && o.Parent() == o.Pkg().Scope() {
				d.uses[name] = append(d.uses[name], inTree(o.Pkg().Path())+"."+o.Name())
			}
		}
		return true
	})
}

// from returns all that is reached from some.
func (g *reach) from(start []string) map[string]bool {
	seen := map[string]bool{}
	for left := slices.Clone(start); len(left) > 0; {
		n := left[len(left)-1]
		left = left[:len(left)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		left = append(left, g.uses[n]...)
		if m, ok := strings.CutPrefix(n, "."); ok {
			left = append(left, g.methods[m]...)
		}
	}
	return seen
}
