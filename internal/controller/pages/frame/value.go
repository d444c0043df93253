package frame

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/pages/words"
	"github.com/peerload/peerload/internal/device/wording"
)

// Said is a value in words, and the code that stands for it; Code is "" if they are the
// same.
type Said struct{ Text, Code string }

// fieldWords begin the keys of the words for the values of a field.
var fieldWords = map[string]string{"state": "rollout ", "role": "role ", "origin": "registration ",
	"registration": "registration ", "kind": "order ", "events": "event ", "scopes": "scope ",
	"plan.silence.rule": "silence ", "plan.retry.reasons": "why "}

// fieldKinds say what the values of a field are that are neither names nor texts of people.
var fieldKinds = map[string]string{"size": "bytes", "wan_rate": "rate", "limits.rate": "rate",
	"plan.lost": "span", "plan.longest": "span", "plan.valid": "span", "plan.ask_every": "span",
	"plan.silence.after": "span", "plan.retry.back_off": "span", "plan.retry.max_back_off": "span",
	"issued": "time", "expires": "time", "plan.start": "time", "plan.deadline": "time",
	"disabled": "switch", "retired": "switch", "signed": "switch", "has_previous": "switch",
	"load.has_previous": "switch", "auto_registration": "switch", "allow_http": "switch", "site_key": "switch",
	"ask.target.all": "switch", "plan.approval": "switch", "plan.download_anytime": "switch", "plan.leave_out": "switch",
	"networks": "list", "loads": "list", "models": "list", "sites": "list", "file_sets": "list", "from": "list",
	"events": "list", "scopes": "list", "plan.retry.reasons": "list", "components": "files", "plan.waves": "waves"}

// Value is the value that a field of an entry of the audit log had or has, in the language
// of a page.
func Value(ja bool, field, is string) Said {
	text := is
	if setting, ok := strings.CutPrefix(field, "settings."); ok {
		text = SettingValue(ja, setting, is)
	} else if fieldKinds[field] != "" {
		text = kindValue(ja, field, is)
	} else if fieldWords[field] != "" {
		text = coded(ja, field, is)
	}
	if text == is {
		return Said{Text: is}
	}
	return Said{Text: text, Code: is}
}

// SettingValue is the value of a setting in the language of a page.
func SettingValue(ja bool, setting, is string) string {
	if is == "" {
		return words.Say(ja, "empty")
	}
	return wording.Value(ja, setting, is)
}

// coded is a word for a code; one that is not known is itself.
func coded(ja bool, field, code string) string {
	if key := fieldWords[field]; key == "why " {
		return Why(ja, code, "")
	} else if key != "" && words.Known(key+code) {
		return words.Say(ja, key+code)
	}
	return code
}

// kindValue is a value of the kind that its field has; one of another form is itself.
func kindValue(ja bool, field, is string) string {
	switch kind := fieldKinds[field]; kind {
	case "switch":
		if is == "true" {
			return words.Say(ja, "yes")
		}
	case "bytes", "rate":
		if n, err := strconv.ParseInt(is, 10, 64); err == nil && kind == "bytes" {
			return Bytes(n)
		} else if err == nil {
			return Bytes(n) + "/s"
		}
	case "span":
		if d, err := time.ParseDuration(is); err == nil {
			return Span(ja, d)
		}
	case "time":
		if at, err := time.Parse(time.RFC3339, is); err == nil {
			return at.UTC().Format("2006-01-02 15:04 UTC")
		}
	case "list":
		var all []string
		if json.Unmarshal([]byte(is), &all) == nil {
			for i := range all {
				all[i] = coded(ja, field, all[i])
			}
			return strings.Join(all, ", ")
		}
	case "files":
		var all []struct {
			Name string `json:"name"`
			Size int64  `json:"size"`
		}
		if json.Unmarshal([]byte(is), &all) == nil {
			return joined(all, func(i int) string { return all[i].Name + " (" + Bytes(all[i].Size) + ")" })
		}
	case "waves":
		return wavesValue(ja, is)
	}
	return is
}

// wavesValue is the waves of a plan: how much of the fleet each has, and what opens the
// next one. Named devices are counted, and named sites are listed.
func wavesValue(ja bool, is string) string {
	var all []struct {
		Devices []string `json:"devices"`
		Sites   []string `json:"sites"`
		Percent int      `json:"percent"`
		Opener  string   `json:"opener"`
	}
	if json.Unmarshal([]byte(is), &all) != nil {
		return is
	}
	return joined(all, func(i int) string {
		w := all[i]
		text := strconv.Itoa(w.Percent) + "\u00a0%"
		if len(w.Devices) > 0 {
			text = words.Say(ja, "%s {device|devices}", strconv.Itoa(len(w.Devices)))
		} else if len(w.Sites) > 0 {
			text = strings.Join(w.Sites, " + ")
		}
		if words.Known("opener " + w.Opener) {
			text += " (" + words.Say(ja, "opener "+w.Opener) + ")"
		}
		return text
	})
}

func joined[T any](all []T, say func(int) string) string {
	texts := make([]string, len(all))
	for i := range all {
		texts[i] = say(i)
	}
	return strings.Join(texts, ", ")
}
