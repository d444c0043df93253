package browser

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"
)

// Frames are what the script's part of each frame took that pages drew while something
// ran, least first: by the clock, and of a processor's time. The former is longer wherever
// other threads want the processor, those of the browser among them.
func (b *Browser) Frames(while func()) (clock, processor []time.Duration) {
	b.tb.Helper()
	var mu sync.Mutex
	over := make(chan struct{})
	err := chromedp.Listen(b.ctx, func(ev any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := ev.(type) {
		case *tracing.EventDataCollected:
			for _, v := range e.Value {
				var s struct {
					Name string
					Dur  *int64 // in microseconds, as TDur
					TDur int64
				}
				if err := json.Unmarshal(v, &s); err == nil && s.Name == "FireAnimationFrame" && s.Dur != nil {
					clock = append(clock, time.Duration(*s.Dur)*time.Microsecond)
					processor = append(processor, time.Duration(s.TDur)*time.Microsecond)
				}
			}
		case *tracing.EventTracingComplete:
			close(over)
		}
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	categories := []string{"devtools.timeline"}
	Run(b, call(tracing.Start, tracing.StartParams{TraceConfig: &tracing.TraceConfig{IncludedCategories: categories}}))
	while()
	Run(b, call(tracing.End, cdp.Empty{}))
	select {
	case <-over:
	case <-time.After(patience):
		b.tb.Fatal("the browser does not end its trace")
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(clock)
	slices.Sort(processor)
	return clock, processor
}
