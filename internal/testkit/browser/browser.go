// Package browser drives Chromium for tests of pages: it loads them as people do, at a
// width, in a language and in a look, and says what is wrong with one.
//
// What lives here: the browser, and axe-core, which finds what people with disabilities
// could not use. What must not: what a page should show. Read first: Open.
package browser

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

//go:embed axe.js.gz
var axe []byte

// patience is how long a step of a browser may hang.
const patience = 2 * time.Minute

// Browser is one window, with cookies of its own.
type Browser struct {
	tb  testing.TB
	ctx context.Context

	mu sync.Mutex
	// told are errors that pages told on the console.
	told []string
}

// Open starts Chromium by its path. The end of the test closes it.
func Open(tb testing.TB, chromium string) *Browser {
	tb.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(tb.TempDir()),
		chromedp.Flag("force-prefers-reduced-motion", true),
		chromedp.Flag("disable-back-forward-cache", true)) // a page from it tells nobody that it is there
	ctx, stop := chromedp.NewExecAllocator(context.WithoutCancel(tb.Context()), opts...)
	ctx, shut := chromedp.NewContext(ctx)
	b := &Browser{tb: tb, ctx: ctx}
	tb.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			tb.Log("the browser did not close: ", err)
		}
		shut()
		stop()
	})
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		tb.Fatal(err)
	}
	Run(b, call(log.Enable, cdp.Empty{}))
	return b
}

// listen keeps what goes wrong in a page: refused by the policy, not found, thrown.
func (b *Browser) listen(ev any) {
	text := ""
	switch e := ev.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && !strings.Contains(e.Entry.Text, "status of 4") {
			text = e.Entry.Text
		}
	case *runtime.EventExceptionThrown:
		text = fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	}
	if text != "" {
		b.mu.Lock()
		b.told = append(b.told, text)
		b.mu.Unlock()
	}
}

// call is a command of the protocol as a step.
func call[P, R any](c cdp.Command[P, R], params P) chromedp.Action[R] {
	return func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, c, params) }
}

// Run carries out a step of package chromedp, or fails the test.
func Run[T any](b *Browser, step chromedp.Action[T]) T {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	out, err := chromedp.Run(ctx, step)
	if err != nil {
		b.tb.Fatalf("the browser: %v", err)
	}
	return out
}

// Go loads a page.
func (b *Browser) Go(url string) { b.tb.Helper(); Run(b, chromedp.Navigate(url)) }

// Cookie sets a cookie for a host.
func (b *Browser) Cookie(url, name, value string) {
	b.tb.Helper()
	Run(b, call(network.SetCookie, network.SetCookieParams{URL: url, Name: name, Value: value}))
}

// Width makes the window so wide, in CSS pixels.
func (b *Browser) Width(px int64) {
	b.tb.Helper()
	Run(b, call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: px, Height: 900,
		DeviceScaleFactor: 1, Mobile: px < 600}))
}

// Look makes the browser prefer a look, "light" or "dark".
func (b *Browser) Look(look string) {
	b.tb.Helper()
	Run(b, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look}}}))
}

// Text is what the page shows.
func (b *Browser) Text() string { b.tb.Helper(); return Run(b, chromedp.Text("body")) }

// Shot is a picture of the whole page, as PNG.
func (b *Browser) Shot(path string) {
	b.tb.Helper()
	if err := os.WriteFile(path, Run(b, chromedp.FullScreenshot(100)), 0o600); err != nil {
		b.tb.Fatal(err)
	}
}

// Overflow is by how many pixels the page is wider than its window.
func (b *Browser) Overflow() int {
	b.tb.Helper()
	return Run(b, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`))
}

// Unfold opens whatever the page's main part has folded away.
func (b *Browser) Unfold() {
	b.tb.Helper()
	Run(b, chromedp.Evaluate[int](`document.querySelectorAll("main details").forEach(d => { d.open = true; }), 0`))
}

// Told are the errors that pages have told since it was last called.
func (b *Browser) Told() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	told := b.told
	b.told = nil
	return told
}

// Barriers are what axe-core finds on the page by the rules of WCAG 2.2 AA.
func (b *Browser) Barriers() (found []string) {
	b.tb.Helper()
	r, err := gzip.NewReader(bytes.NewReader(axe))
	if err != nil {
		b.tb.Fatal(err)
	}
	script, err := io.ReadAll(r)
	if err != nil {
		b.tb.Fatal(err)
	}
	Run(b, chromedp.Evaluate[int](string(script)+";0"))
	raw := Run(b, chromedp.Evaluate[string](`axe.run(document,
		{runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(r => JSON.stringify(
		r.violations.map(v => ({id: v.id, help: v.help, nodes: v.nodes.map(n => n.html.slice(0, 200))}))))`,
		chromedp.EvalAwaitPromise))
	var all []struct {
		ID, Help string
		Nodes    []string
	}
	if err := json.Unmarshal([]byte(raw), &all); err != nil {
		b.tb.Fatal(err)
	}
	for _, v := range all {
		found = append(found, fmt.Sprintf("%s: %s: %s", v.ID, v.Help, strings.Join(v.Nodes, " | ")))
	}
	return found
}

// Squeezed are texts that stand in a column which is a few letters wide.
func (b *Browser) Squeezed() []string {
	b.tb.Helper()
	return Run(b, chromedp.Evaluate[[]string](`[...document.querySelectorAll("body *")].filter(e => {
		const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join("");
		const box = e.getBoundingClientRect(), head = e.closest("thead");
		if (head && getComputedStyle(head).position === "absolute") return false; // for screen readers alone
		return text.length > 11 && box.width > 1 && box.width < 48 && box.height > 80;
	}).map(e => e.textContent.trim().slice(0, 80))`))
}

// Follow clicks on something, found by XPath or a selector, and waits for the page that
// it leads to.
func (b *Browser) Follow(what string) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(what)); err != nil {
		b.tb.Fatalf("%s leads to no other page: %v", what, err)
	}
}

// Back goes to the page before.
func (b *Browser) Back() { b.tb.Helper(); Run(b, chromedp.NavigateBack()) }

// Fill types a text into the field of a name, in the place of what is there.
func (b *Browser) Fill(name, text string) {
	b.tb.Helper()
	field := `[name="` + name + `"]`
	Run(b, chromedp.Evaluate[int](`document.querySelector('`+field+`').select(), 0`))
	Run(b, chromedp.SendKeys(field, text))
}

// Choose chooses an option of the field of a name.
func (b *Browser) Choose(name, value string) {
	b.tb.Helper()
	Run(b, chromedp.SetValue(`[name="`+name+`"]`, value))
}

// Wait waits until something holds on the page, in JavaScript.
func (b *Browser) Wait(what string) { b.tb.Helper(); Run(b, chromedp.Poll[bool](what)) }

// See fails unless the page shows texts; one that begins with "!" must not be there.
func (b *Browser) See(texts ...string) {
	b.tb.Helper()
	shown := b.Text()
	for _, text := range texts {
		without, not := strings.CutPrefix(text, "!")
		if strings.Contains(shown, without) == not {
			b.tb.Errorf("the page: %q:\n%s", text, shown)
		}
	}
}
