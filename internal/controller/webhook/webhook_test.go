package webhook_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/webhook"
)

// TestSign: the signature is that of the convention. The sample is the one of its
// specification.
func TestSign(t *testing.T) {
	random, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := webhook.Sign(random, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), `{"test": 2432232314}`)
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := webhook.NewSecret(random), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"; got != want {
		t.Errorf("the secret is %s", got)
	}
}

// TestPauses: they grow, and there is a day to mend a receiver.
func TestPauses(t *testing.T) {
	last, sum := time.Duration(0), time.Duration(0)
	for _, p := range webhook.Pauses() {
		if p <= last {
			t.Errorf("%v after %v", p, last)
		}
		last, sum = p, sum+p
	}
	if sum < 24*time.Hour || sum > 48*time.Hour {
		t.Errorf("given up after %v", sum)
	}
}
