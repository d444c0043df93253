package rollouts

import (
	"fmt"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/window"
	"github.com/peerload/peerload/internal/device/reason"
)

// Plan is a plan as people write it: times as 90m or 24h, windows as 22:00-05:00.
// What is left out is as in rollout.Default. Package rollout says what each field
// does.
type Plan struct {
	Waves           []Wave    `json:"waves,omitempty" maxItems:"100"`
	MaxFailed       int       `json:"max_failed,omitempty" minimum:"0" doc:"so many failed devices pause the rollout"`
	MaxFailedShare  *int      `json:"max_failed_share,omitempty" minimum:"0" maximum:"100" doc:"so many of a hundred failed devices of a wave pause it; 0: no share does"`
	Silence         Silence   `json:"silence,omitzero"`
	Lost            string    `json:"lost,omitempty" maxLength:"32" doc:"after how long without a word a device fails that has begun"`
	Longest         string    `json:"longest,omitempty" maxLength:"32" doc:"after how long a device fails that does not get there"`
	Retry           Retry     `json:"retry,omitzero"`
	Windows         []string  `json:"windows,omitempty" maxItems:"32" doc:"such as 22:00-05:00 or mon-fri 22:00-05:00, by the clock of the site"`
	DownloadAnytime bool      `json:"download_anytime,omitempty" doc:"windows hold for the activation alone"`
	Valid           string    `json:"valid,omitempty" maxLength:"32" doc:"how long what a device is handed holds at most"`
	Start           time.Time `json:"start,omitzero" doc:"when the first wave opens"`
	Deadline        time.Time `json:"deadline,omitzero" doc:"after it no device may do anything"`
	Approval        bool      `json:"approval,omitempty" doc:"a second person must approve it"`
	LeaveOut        bool      `json:"leave_out,omitempty" doc:"leave out and count devices that cannot take part, instead of refusing the start"`
	AskEvery        string    `json:"ask_every,omitempty" maxLength:"32" doc:"the distance between two questions to the external check"`
}

// Wave is a part of the target: devices, or sites, or a percentage.
type Wave struct {
	Devices []string `json:"devices,omitempty" maxItems:"1000"`
	Sites   []string `json:"sites,omitempty" maxItems:"1000"`
	Percent int      `json:"percent,omitempty" minimum:"0" maximum:"100" doc:"of the target, the waves before it included"`
	Opener  string   `json:"opener,omitempty" enum:"success,person,external" doc:"who opens the next wave; success if left out"`
	Success int      `json:"success,omitempty" minimum:"0" maximum:"100" doc:"so many of a hundred devices must be done before the next wave"`
	Soak    string   `json:"soak,omitempty" maxLength:"32" doc:"how long they must have been"`
}

// Silence says what becomes of devices that are not heard of.
type Silence struct {
	Rule  string `json:"rule,omitempty" enum:"wait,ignore,fail"`
	After string `json:"after,omitempty" maxLength:"32"`
}

// Retry says which failures are tried again.
type Retry struct {
	Reasons    []string `json:"reasons,omitempty" maxItems:"64"`
	Times      int      `json:"times,omitempty" minimum:"0" maximum:"100"`
	BackOff    string   `json:"back_off,omitempty" maxLength:"32"`
	MaxBackOff string   `json:"max_back_off,omitempty" maxLength:"32"`
}

// times reads the times of a plan, and keeps the first that is none.
type times struct{ err error }

func (t *times) read(to *time.Duration, field, text string) {
	if text == "" {
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("%w: %s: %.40q is no time such as 90s, 15m or 24h", domain.ErrInvalid, field, text)
	}
	*to = d
}

// machine returns the plan as package rollout has it. An error matches
// domain.ErrInvalid.
func (p Plan) machine() (rollout.Plan, error) {
	out := rollout.Default()
	t := &times{}
	if p.Waves != nil {
		out.Waves = []rollout.Wave{}
	}
	for i, w := range p.Waves {
		m, err := w.machine(t)
		if err != nil {
			return out, fmt.Errorf("wave %d: %w", i+1, err)
		}
		out.Waves = append(out.Waves, m)
	}
	if n := len(out.Waves); n > 0 {
		out.Waves[n-1].Gate = rollout.Gate{} // nothing opens after it
	}
	out.MaxFailed = p.MaxFailed
	if p.MaxFailedShare != nil {
		out.MaxFailedShare = *p.MaxFailedShare
	}
	if p.Silence.Rule != "" {
		out.Silence.Rule = rollout.SilenceRule(p.Silence.Rule)
	}
	t.read(&out.Silence.After, "silence.after", p.Silence.After)
	t.read(&out.Lost, "lost", p.Lost)
	t.read(&out.Longest, "longest", p.Longest)
	t.read(&out.Valid, "valid", p.Valid)
	t.read(&out.AskEvery, "ask_every", p.AskEvery)
	out.Retry = rollout.Retry{Reasons: p.Retry.Reasons, Times: p.Retry.Times}
	t.read(&out.Retry.BackOff, "retry.back_off", p.Retry.BackOff)
	t.read(&out.Retry.MaxBackOff, "retry.max_back_off", p.Retry.MaxBackOff)
	out.DownloadAnytime, out.Approval, out.LeaveOut = p.DownloadAnytime, p.Approval, p.LeaveOut
	out.Start, out.Deadline = p.Start.UTC(), p.Deadline.UTC()
	if t.err != nil {
		return out, t.err
	}
	if len(p.Windows) > 0 {
		var err error
		if out.Windows, err = window.Parse(p.Windows...); err != nil {
			return out, fmt.Errorf("%w: %w", domain.ErrInvalid, err)
		}
	}
	if err := out.Validate(); err != nil {
		return out, fmt.Errorf("%w: %w", domain.ErrInvalid, err)
	}
	for _, word := range p.Retry.Reasons {
		if err := choice.Check("reason to try again", word, failures()); err != nil {
			return out, fmt.Errorf("%w: retry: %w", domain.ErrInvalid, err)
		}
	}
	return out, nil
}

// failures are the reasons with which a device can fail in a rollout.
func failures() []string {
	all := []string{rollout.ReasonLost, rollout.ReasonTooLong}
	for _, code := range reason.Failures() {
		all = append(all, string(code))
	}
	return all
}

func (w Wave) machine(t *times) (rollout.Wave, error) {
	out := rollout.Wave{Sites: w.Sites, Percent: w.Percent,
		Gate: rollout.Gate{Opener: rollout.Opener(w.Opener), Success: w.Success}}
	for _, name := range w.Devices {
		d, err := domain.DeviceName(name)
		if err != nil {
			return out, err
		}
		out.Devices = append(out.Devices, d)
	}
	if w.Opener == "" {
		out.Gate.Opener = rollout.BySuccess
	}
	if out.Gate.Opener != rollout.ByPerson && w.Success == 0 {
		out.Gate.Success = 100
	}
	t.read(&out.Gate.Soak, "soak", w.Soak)
	return out, nil
}

// planOf writes a plan as people do.
func planOf(p rollout.Plan) Plan {
	share := p.MaxFailedShare
	out := Plan{Waves: []Wave{}, MaxFailed: p.MaxFailed, MaxFailedShare: &share,
		Silence: Silence{string(p.Silence.Rule), timeText(p.Silence.After)}, Lost: timeText(p.Lost),
		Longest: timeText(p.Longest), Valid: timeText(p.Valid), AskEvery: timeText(p.AskEvery),
		Retry: Retry{p.Retry.Reasons, p.Retry.Times, timeText(p.Retry.BackOff), timeText(p.Retry.MaxBackOff)},
		Start: p.Start, Deadline: p.Deadline, DownloadAnytime: p.DownloadAnytime, Approval: p.Approval,
		LeaveOut: p.LeaveOut}
	for _, w := range p.Windows {
		out.Windows = append(out.Windows, w.String())
	}
	for _, w := range p.Waves {
		out.Waves = append(out.Waves, Wave{Devices: w.Devices, Sites: w.Sites, Percent: w.Percent,
			Opener: string(w.Gate.Opener), Success: w.Gate.Success, Soak: timeText(w.Gate.Soak)})
	}
	return out
}

// timeText writes a time as people do, "" for none.
func timeText(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}
