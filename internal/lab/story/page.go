package story

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// The report's page and its script. They are put into one file that needs
// nothing else.
var (
	//go:embed assets/page.html
	pageText string
	//go:embed assets/page.js
	pageScript string
)

// pageData is the data that the page draws. Rates are in bits per second, times
// in seconds.
type pageData struct {
	Devices []pageDevice `json:"devices"`
	Subnets int          `json:"subnets"`
	WAN     units.Rate   `json:"wan"`
	Size    int64        `json:"size"`
	Times   []float64    `json:"times"`
	Down    []uint64     `json:"down"`    // bytes on the WAN since the start
	Percent [][]int      `json:"percent"` // by sample and device
	Changes []change     `json:"changes"`
	Marks   []Mark       `json:"marks"`
	End     float64      `json:"end"`
}

type pageDevice struct {
	Address    string  `json:"address"`
	Subnet     int     `json:"subnet"`
	State      string  `json:"state"`
	Done       float64 `json:"done"`
	FromOrigin int64   `json:"origin"` // bytes that the server sent it
}

// pageView is the data of the page's template.
type pageView struct {
	Title   string
	Tiles   [][3]string // name, value, note
	Figures [][2]string
	Stories [][2]string
	Marks   []Mark
	Rows    []DeviceRow
	Style   template.CSS
	Script  template.JS
	Data    template.JS
}

// WriteHTML writes the report of an ended run: one page that needs no network.
func (u *Up) WriteHTML(w io.Writer, r *Result) error {
	data := u.line.pageData()
	data.Subnets, data.WAN, data.Size = r.Subnets, r.WAN, r.Size
	for _, row := range r.Rows {
		data.Devices = append(data.Devices, pageDevice{row.Device.String(), row.Subnet, row.State, row.DoneS, row.FromOrigin})
	}
	text, err := json.Marshal(data) // escapes what could end a script
	if err != nil {
		return err
	}
	page, err := template.New("report").Funcs(template.FuncMap{
		"join":    func(s []string) string { return strings.Join(s, ", ") },
		"size":    func(n any) string { return sizeOf(n).String() },
		"seconds": func(s float64) string { return fmt.Sprintf("%.2f", s) },
	}).Parse(pageText)
	if err != nil {
		return err
	}
	view := r.view()
	view.Marks = data.Marks
	view.Style, view.Script, view.Data = output.PageStyle(""), output.PageScript(pageScript), template.JS(text)
	return page.Execute(w, view)
}

func sizeOf(n any) units.Size {
	switch v := n.(type) {
	case int64:
		return units.Size(v)
	case uint64:
		return units.Size(v)
	}
	return 0
}

// pageData returns the data for the page from the timeline.
func (t *timeline) pageData() pageData {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := pageData{Changes: append([]change{}, t.changes...), Marks: append([]Mark{}, t.marks...)}
	for _, s := range t.samples {
		d.Times, d.Down, d.Percent = append(d.Times, s.AtS), append(d.Down, s.Down), append(d.Percent, s.Percent)
		d.End = s.AtS
	}
	return d
}

// view says the result in words.
func (r *Result) view() pageView {
	link := site.LinkConfig{RTT: units.Seconds(r.RTTS), Jitter: units.Seconds(r.JitterS), Loss: r.Loss}
	v := pageView{
		Title: fmt.Sprintf("%d devices, %s", r.Devices, units.Size(r.Size)),
		Tiles: [][3]string{
			{"complete", fmt.Sprintf("%d of %d", r.Complete, r.Expected), "devices with the right file"},
			{"last device", fmt.Sprintf("%.2f s", r.LastS),
				fmt.Sprintf("bound %.2f s, ratio %s", r.BoundS, output.Ratio(r.Ratio))},
			{"WAN payload", fmt.Sprintf("%.3f ×", r.WANRatio),
				fmt.Sprintf("%s for %d subnet(s) of %s", units.Size(r.WANBytes), r.Subnets, units.Size(r.Size))},
			{"fallbacks", fmt.Sprint(r.Fallbacks), fmt.Sprintf("%d elections won", r.Elections)},
		},
		Figures: [][2]string{
			{"devices, subnets", fmt.Sprintf("%d, %d", r.Devices, r.Subnets)},
			{"WAN", r.WAN.String() + link.Text()},
			{"LAN, each port", r.LAN.String()},
			{"origin", r.OriginScheme},
			{"median of a device, from its own start", fmt.Sprintf("%.2f s", r.MedianS)},
			{"on the wire of the WAN", fmt.Sprintf("%s down, %s up", units.Size(r.WireDown), units.Size(r.WireUp))},
			{"packets that the WAN lost, refused", fmt.Sprintf("%d, %d", r.WANLost, r.WANFull)},
			{"requests to the server", fmt.Sprint(r.Requests)},
			{"why devices fell back", output.OrNobody(output.Reasons(r.Reasons))},
			{"broadcasts", fmt.Sprint(r.Broadcasts)},
			{"largest memory of a device", fmt.Sprintf("%.1f MiB", float64(r.PeakRSS)/(1<<20))},
			{"processor time of all devices", fmt.Sprintf("%.2f s", r.CPUS)},
		},
		Rows: r.Rows,
	}
	if r.TimedOut {
		v.Figures = append(v.Figures, [2]string{"end", "timed out"})
	}
	if r.Error != "" {
		v.Figures = append(v.Figures, [2]string{"end", r.Error})
	}
	for _, s := range r.Stories {
		v.Stories = append(v.Stories, [2]string{s.Text, timesText(s.Times)})
	}
	return v
}
