package bench

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/output"
)

// The page of the comparison; it looks like the report of a run.
var (
	//go:embed assets/bench.html
	pageText string
	//go:embed assets/bench.css
	pageStyle string
	//go:embed assets/bench.js
	pageScript string
)

// Page is what the page of a comparison shows.
type Page struct {
	Machine   Machine
	Command   string // what was typed
	Scenarios []Scenario
	Rows      []Row       // of Compare
	Skipped   [][2]string // what was not measured, and why
	Took      time.Duration
}

// pageView is the data of the page's template.
type pageView struct {
	Tiles    [][3]string // name, value, note
	Glance   glance
	Measured int
	Sites    []pageSite
	Facts    [][2]string
	Style    template.CSS
	Script   template.JS
	Data     template.JS
}

type pageSite struct {
	Name, Words, Short string
	Rows               []pageRow
}

type pageRow struct {
	Row   Row
	Cells rowCells
}

// glance is one table of all sites, for one number of devices.
type glance struct {
	Devices int
	Sites   []pageSite
	Rows    []glanceRow
}

type glanceRow struct {
	Way   string
	Ours  bool
	Cells []glanceCell
}

type glanceCell struct {
	Text string
	Heat int
}

// The data of the page's charts.
type chartSite struct {
	Name string     `json:"name"`
	Ways []chartWay `json:"ways"`
}

type chartWay struct {
	Name string     `json:"name"`
	Ours bool       `json:"ours"`
	Rows []chartRow `json:"rows"`
}

type chartRow struct {
	Devices   int     `json:"devices"`
	Ratio     float64 `json:"ratio"`
	RatioText string  `json:"ratioText"`
	WAN       float64 `json:"wan"`
	WANText   string  `json:"wanText"`
	Computed  bool    `json:"computed"`
	Failed    bool    `json:"failed"`
	Tip       string  `json:"tip"`
}

// WriteHTML writes the page: one file that needs no network.
func (b Page) WriteHTML(w io.Writer) error {
	v := pageView{
		Tiles: b.tiles(), Measured: eachUpTo, Style: output.PageStyle(pageStyle), Script: output.PageScript(pageScript),
	}
	var charts []chartSite
	for _, s := range b.Scenarios {
		site := pageSite{Name: s.Name, Words: s.words(), Short: s.short()}
		for _, r := range b.Rows {
			if r.Scenario == s.Name {
				site.Rows = append(site.Rows, pageRow{r, r.cells()})
			}
		}
		if len(site.Rows) > 0 {
			v.Sites = append(v.Sites, site)
			charts = append(charts, site.chart())
		}
	}
	v.Glance, v.Facts = b.glance(v.Sites), b.facts()
	data, err := json.Marshal(charts) // escapes what could end a script
	if err != nil {
		return err
	}
	v.Data = template.JS(data)
	page, err := template.New("bench").Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, v)
}

// short describes the scenario's site in a few words.
func (s Scenario) short() string {
	if s.WAN > s.LAN {
		return "LAN " + s.LAN.String()
	}
	return "WAN " + s.WAN.String() + s.link().Text()
}

// chart orders a site's rows by way.
func (s pageSite) chart() chartSite {
	c := chartSite{Name: s.Name}
	for _, r := range s.Rows {
		i := slices.IndexFunc(c.Ways, func(w chartWay) bool { return w.Name == r.Row.Method })
		if i < 0 {
			i = len(c.Ways)
			c.Ways = append(c.Ways, chartWay{Name: r.Row.Method, Ours: r.Row.Ours})
		}
		c.Ways[i].Rows = append(c.Ways[i].Rows, r.chart())
	}
	return c
}

func (b pageRow) chart() chartRow {
	r, c := b.Row, b.Cells
	row := chartRow{
		Devices: r.Devices, Ratio: r.Ratio, RatioText: c.Ratio, WAN: r.WANRatio, WANText: c.WAN,
		Computed: r.Computed, Failed: r.Failed != "", Tip: fmt.Sprintf("%s, %d devices\n", r.Method, r.Devices),
	}
	if row.Failed {
		row.Tip += r.Failed
		return row
	}
	row.Tip += fmt.Sprintf("last %s s, median %s s, p99 %s s\n%s × bound, %s copies over the WAN\n"+
		"busiest device sent %s × size, processor time %s s\ncongestion control %s",
		c.Last, c.Median, c.P99, c.Ratio, c.WAN, c.Busiest, c.CPU, r.notes())
	return row
}

// glance returns the table of the largest sites.
func (b Page) glance(sites []pageSite) glance {
	g := glance{Sites: sites}
	for _, r := range b.Rows {
		g.Devices = max(g.Devices, r.Devices)
	}
	for _, r := range b.Rows {
		if slices.ContainsFunc(g.Rows, func(have glanceRow) bool { return have.Way == r.Method }) {
			continue
		}
		row := glanceRow{Way: r.Method, Ours: r.Ours}
		for _, s := range sites {
			row.Cells = append(row.Cells, s.cell(r.Method, g.Devices))
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}

func (s pageSite) cell(way string, devices int) glanceCell {
	for _, r := range s.Rows {
		switch {
		case r.Row.Method != way || r.Row.Devices != devices:
		case r.Row.Failed != "":
			return glanceCell{"failed", 5}
		default:
			return glanceCell{r.Cells.Ratio, heat(r.Row.Ratio)}
		}
	}
	return glanceCell{Text: "–"}
}

// heat maps a ratio to the bound to a colour class: 1 at it, 5 far away, 0
// between.
func heat(ratio float64) int {
	for _, c := range []struct {
		most float64
		heat int
	}{{1.25, 1}, {2, 2}, {5, 0}, {15, 3}, {50, 4}} {
		if ratio <= c.most {
			return c.heat
		}
	}
	return 5
}

// tiles compares the product with devices that download by themselves, on the
// largest site of the first scenario that has both.
func (b Page) tiles() [][3]string {
	tiles := [][3]string{}
	best := [2]Row{}
	for _, r := range b.Rows {
		i := slices.Index([]string{twoTrees, httpEach}, r.Method)
		if i < 0 || r.Failed != "" || r.Scenario != b.Rows[0].Scenario || r.Devices < best[i].Devices {
			continue
		}
		best[i] = r
	}
	for i, name := range []string{"last device, through the peers", "last device, each by itself"} {
		if r := best[i]; r.Devices > 0 {
			c := r.cells()
			tiles = append(tiles, [3]string{name, c.Last + " s",
				fmt.Sprintf("%s × bound; %s, %d devices", c.Ratio, r.Scenario, r.Devices)})
		}
	}
	if ours, each := best[0], best[1]; ours.Devices > 0 && each.Devices > 0 {
		tiles = append(tiles, [3]string{"copies over the WAN", ours.cells().WAN, "each by itself: " + each.cells().WAN})
	}
	return append(tiles, [3]string{
		"measured in", b.Took.Round(time.Second).String(),
		fmt.Sprintf("%d rows on %d processors, load %s before", len(b.Rows), b.Machine.Processors, b.Machine.Load),
	})
}

// facts says under which conditions the figures were measured.
func (b Page) facts() [][2]string {
	m := b.Machine
	out := [][2]string{
		{"command", b.Command},
		{"machine", fmt.Sprintf("%d processors, %.0f GiB of memory, load %s before the start", m.Processors,
			float64(m.Memory)/(1<<30), m.Load)},
		{"sites", fmt.Sprintf("%s; %s; each figure is the median of %d run(s)", m.Kind, measure.ProcsText(m.Procs), m.Runs)},
		{"bound", "the file once over the WAN or once over a port, whichever is longer, without headers and round trips"},
		{"others", "the share of the processors that was in use in the second before the run; above a few percent times " +
			"tell of the machine too"},
	}
	if m.Note != "" {
		out = append(out, [2]string{"note", m.Note})
	}
	for _, s := range b.Skipped {
		out = append(out, [2]string{"not measured: " + s[0], s[1]})
	}
	return out
}
