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
	secret := webhook.NewSecret(random)
	if want := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"; secret != want {
		t.Errorf("the secret is %s", secret)
	}
	at := time.Unix(1614265330, 0)
	got, err := webhook.Sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, `{"test": 2432232314}`)
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want || err != nil {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	for _, bad := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_*"} {
		if got, err := webhook.Sign(bad, "m", at, ""); err == nil {
			t.Errorf("%q signs: %s", bad, got)
		}
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
