package drafts

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// changeOf reads the form of a draft. An error names the field that cannot be read.
func changeOf(v *frame.Visit) (c client.RolloutChange, err error) {
	load, release, check := v.Form("load"), v.Form("release"), v.Form("check")
	switch {
	case load == "" && release == "":
		return c, frame.WrongField("release", v.T("Choose what it brings: a release or a load."))
	case load != "" && release != "":
		return c, frame.WrongField("load", v.T("Choose a load or a release, not both."))
	case load != "":
		c.Load = &load
	default:
		c.Release = &release
	}
	t := client.RolloutTarget{Site: v.Form("site"), Profile: v.Form("profile"), Model: v.Form("model"),
		Text: v.Form("text"), Devices: strings.FieldsFunc(v.Form("devices"), between)}
	if t.Percent, err = number(v, "percent", 100); err != nil {
		return c, err
	}
	t.All = t.Site == "" && t.Profile == "" && t.Model == "" && t.Text == "" && len(t.Devices) == 0
	c.Target, c.Check = &t, &check
	p, err := Plan(v)
	c.Plan = &p
	return c, err
}

// between are the signs between names and numbers.
func between(r rune) bool { return strings.ContainsRune(" ,、%\r\n\t", r) }

// number reads a field that may be empty, which is 0.
func number(v *frame.Visit, name string, most int64) (int, error) {
	n, ok := frame.Int(v.Form(name))
	if v.Form(name) != "" && (!ok || n < 0 || n > most) {
		return 0, frame.WrongField(name, v.T("This is not a valid number."))
	}
	return int(n), nil
}

// Plan reads the fields of a plan. An error names the field that cannot be read.
func Plan(v *frame.Visit) (p client.RolloutPlan, err error) {
	numbers := map[string]int{}
	for name, most := range map[string]int64{"success": 100, "max_failed": 1_000_000, "max_failed_share": 100,
		"retry_times": 100} {
		if numbers[name], err = number(v, name, most); err != nil {
			return p, err
		}
	}
	for name, to := range map[string]*time.Time{"start": &p.Start, "deadline": &p.Deadline} {
		if is := v.Form(name); is != "" {
			at, ok := frame.Moment(is)
			if !ok {
				return p, frame.WrongField(name, v.T("Write a date and a time."))
			}
			*to = at
		}
	}
	share := numbers["max_failed_share"]
	p.MaxFailed, p.MaxFailedShare = numbers["max_failed"], &share
	p.Approval, p.LeaveOut = v.Form("approval") == "on", v.Form("leave_out") == "on"
	p.DownloadAnytime = v.Form("download_anytime") == "on"
	p.Lost, p.Longest, p.Valid, p.AskEvery = v.Form("lost"), v.Form("longest"), v.Form("valid"), v.Form("ask_every")
	if p.Silence.Rule = v.Form("silence"); p.Silence.Rule != "wait" {
		p.Silence.After = v.Form("silence_after")
	}
	if reasons := v.R.PostForm["retry_reasons"]; len(reasons) > 0 {
		p.Retry = client.RolloutRetry{Reasons: reasons, Times: cmp.Or(numbers["retry_times"], 3),
			BackOff: cmp.Or(v.Form("back_off"), "15m"), MaxBackOff: v.Form("max_back_off")}
	}
	for window := range strings.SplitSeq(v.Form("windows"), ";") {
		if window = strings.TrimSpace(window); window != "" {
			p.Windows = append(p.Windows, window)
		}
	}
	usual := client.RolloutWave{Opener: v.Form("opener"), Success: numbers["success"], Soak: v.Form("soak")}
	waves, bad := wavesOf(v.Form("waves"), usual)
	if bad != "" {
		return p, frame.WrongField("waves", v.T("Write numbers from 1 to 100, for example 5 25 100.")+" "+
			v.T("This is none: %s", bad))
	}
	p.Waves = waves
	return p, nil
}

// wavesOf reads waves; usual has the rule of those that do not say their own. bad is what
// cannot be read. What no wave takes is in a last one.
func wavesOf(text string, usual client.RolloutWave) (all []client.RolloutWave, bad string) {
	for line := range strings.Lines(text) {
		what, rule, _ := strings.Cut(line, ";")
		some, ok := wavesOfLine(what)
		if !ok {
			return nil, strings.TrimSpace(line)
		}
		for _, w := range some {
			w.Opener, w.Success, w.Soak = usual.Opener, usual.Success, usual.Soak
			if !readRule(&w, rule) {
				return nil, strings.TrimSpace(line)
			}
			all = append(all, w)
		}
	}
	if n := len(all); n == 0 || all[n-1].Percent != 100 {
		all = append(all, client.RolloutWave{Percent: 100})
	}
	last := &all[len(all)-1] // nothing opens after it
	last.Opener, last.Success, last.Soak = "", 0, ""
	return all, ""
}

// wavesOfLine are the waves that a line names: sites, devices, or numbers.
func wavesOfLine(text string) (all []client.RolloutWave, ok bool) {
	kind, names, named := strings.Cut(text, ":")
	if !named {
		for _, word := range strings.FieldsFunc(text, between) {
			n, ok := frame.Int(word)
			if !ok || n < 1 || n > 100 {
				return nil, false
			}
			all = append(all, client.RolloutWave{Percent: int(n)})
		}
		return all, true
	}
	w := client.RolloutWave{}
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return nil, false
		}
		switch strings.TrimSpace(kind) {
		case "sites":
			w.Sites = append(w.Sites, name)
		case "devices":
			w.Devices = append(w.Devices, name)
		default:
			return nil, false
		}
	}
	return []client.RolloutWave{w}, true
}

// readRule reads what a line says of what opens the next wave.
func readRule(w *client.RolloutWave, text string) bool {
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "soak":
			w.Soak = value
		case "by":
			w.Opener = value
		case "success":
			n, ok := frame.Int(value)
			if !ok || n < 1 || n > 100 {
				return false
			}
			w.Success = int(n)
		default:
			return false
		}
	}
	return true
}

// usualWave has the rule of the first wave, which is that of all that say no other.
func usualWave(waves []client.RolloutWave) client.RolloutWave {
	if len(waves) < 2 {
		return client.RolloutWave{Opener: "success", Success: 95, Soak: "1h"}
	}
	return client.RolloutWave{Opener: waves[0].Opener, Success: waves[0].Success, Soak: waves[0].Soak}
}

// wavesText is how a form has waves: wavesOf reads it as the same.
func wavesText(waves []client.RolloutWave) string {
	usual := usualWave(waves)
	var b strings.Builder
	for i, w := range waves {
		rule := ""
		if i < len(waves)-1 {
			rule = ruleText(w, usual)
		}
		plain := rule == "" && w.Percent > 0
		switch {
		case i == 0:
		case plain && waves[i-1].Percent > 0 && !strings.Contains(lastLine(b.String()), ";"):
			b.WriteString(" ")
		default:
			b.WriteString("\n")
		}
		switch {
		case len(w.Sites) > 0:
			b.WriteString("sites: " + strings.Join(w.Sites, ", "))
		case len(w.Devices) > 0:
			b.WriteString("devices: " + strings.Join(w.Devices, ", "))
		default:
			b.WriteString(strconv.Itoa(w.Percent))
		}
		b.WriteString(rule)
	}
	return b.String()
}

func lastLine(text string) string { return text[strings.LastIndexByte(text, '\n')+1:] }

// ruleText is what a wave says otherwise than the usual one.
func ruleText(w, usual client.RolloutWave) (text string) {
	if w.Soak != usual.Soak {
		text += " soak=" + cmp.Or(w.Soak, "0s")
	}
	if w.Success != usual.Success && w.Success > 0 {
		text += fmt.Sprintf(" success=%d", w.Success)
	}
	if w.Opener != usual.Opener {
		text += " by=" + cmp.Or(w.Opener, "success")
	}
	if text != "" {
		return ";" + text
	}
	return ""
}
