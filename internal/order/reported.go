package order

import (
	"bytes"
	"compress/flate"
	"crypto/hmac"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// Reports of devices go by way of a carrier, too, many at once and compressed. Each has a
// code of its device's secret, in which the carrier and the time are: nobody else can hand
// it over, and not a second time once the controller has a later one.

// Limits of reports that are handed over together.
const (
	MaxReports = 128
	// MaxPackedReports and maxPlainReports bound them in bytes, packed and not.
	MaxPackedReports = 1 << 20
	maxPlainReports  = 8 << 20
)

const (
	forReport      = "peerload report 1\x00"
	reportCodeSize = 16
)

// Reported is a report of a device as it goes by way of a carrier.
type Reported struct {
	Device string `json:"d"`
	// At is when it was sealed, by the controller's clock as the device knows it, in
	// milliseconds since 1970.
	At   int64  `json:"t"`
	Code []byte `json:"c"`
	// Report is a report.Device.
	Report json.RawMessage `json:"r"`
}

// SealReport makes a report ready to go by way of a carrier. It fails if a name is none
// of a device, or the report is not as package json writes it.
func (s Secret) SealReport(device, carrier string, at time.Time, report []byte) (Reported, error) {
	var same bytes.Buffer
	if err := json.Compact(&same, report); err != nil || !bytes.Equal(same.Bytes(), report) {
		return Reported{}, malformed("a report that others would write differently: %v", err)
	}
	if !IsDevice(device) || !IsDevice(carrier) {
		return Reported{}, malformed("a report names two devices")
	}
	r := Reported{Device: device, At: at.UnixMilli(), Report: report}
	r.Code = s.reportCode(r, carrier)
	return r, nil
}

func (s Secret) reportCode(r Reported, carrier string) []byte {
	text := append([]byte(carrier+"\x00"+r.Device+"\x00"), binary.BigEndian.AppendUint64(nil, uint64(r.At))...)
	return code(s[:], forReport, append(text, r.Report...))[:reportCodeSize]
}

// Reported reports whether the secret has sealed a report for a carrier.
func (s Secret) Reported(r Reported, carrier string) bool {
	return len(r.Code) == reportCodeSize && hmac.Equal(r.Code, s.reportCode(r, carrier))
}

// Takes reports whether a controller takes a report that a carrier hands over: the secret
// has sealed it for that carrier, and at a time after last, when the device has reported
// last. One of the future is not taken: it would pass for newer than what the device
// reports meanwhile.
func (s Secret) Takes(r Reported, carrier string, last, now time.Time) bool {
	return s.Reported(r, carrier) && r.Time().After(last) && !r.Time().After(now)
}

// Time is when it was sealed.
func (r Reported) Time() time.Time { return time.UnixMilli(r.At).UTC() }

// PackReports writes reports that are handed over together. An error matches ErrMalformed.
func PackReports(all []Reported) ([]byte, error) {
	if all == nil {
		all = []Reported{}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, malformed("%v", err)
	}
	var b bytes.Buffer
	w, err := flate.NewWriterDict(&b, flate.DefaultCompression, reportWords)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	if len(all) > MaxReports || len(text) > maxPlainReports || b.Len() > MaxPackedReports {
		return nil, malformed("%d reports, %d bytes, packed %d", len(all), len(text), b.Len())
	}
	return b.Bytes(), nil
}

// UnpackReports reads reports without believing them. Errors match ErrMalformed.
func UnpackReports(b []byte) (all []Reported, err error) {
	if len(b) > MaxPackedReports {
		return nil, malformed("%d bytes: at most %d", len(b), MaxPackedReports)
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReaderDict(bytes.NewReader(b), reportWords), maxPlainReports+1))
	if err != nil {
		return nil, malformed("%v", err)
	}
	if len(text) > maxPlainReports {
		return nil, malformed("more than %d bytes", maxPlainReports)
	}
	return parseReports(text)
}

// parseReports reads one report after the other: of more than may come, such as millions
// of empty ones that were packed into little, it makes none.
func parseReports(text []byte) (all []Reported, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return nil, malformed("no list of reports: %v", err)
	}
	for d.More() {
		if len(all) == MaxReports {
			return nil, malformed("more than %d reports", MaxReports)
		}
		var r Reported
		if err := d.Decode(&r); err != nil {
			return nil, malformed("%v", err)
		}
		if len(r.Report) > MaxCarried {
			return nil, malformed("a report of %d bytes: at most %d", len(r.Report), MaxCarried)
		}
		all = append(all, r)
	}
	if _, err := d.Token(); err != nil {
		return nil, malformed("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("something after the reports")
	}
	return all, nil
}

// reportWords has what reports have in common. It is part of the form: another one needs
// another form.
var reportWords = []byte(`"why":"failures":[{"load":"phase":"download","output":["fallbacks":[{"at_s":` +
	`"from":"10.0.0.","bytes_from_origin":"bytes_from_peers":"source":"origin","peer","components":[{"file":"size":` +
	`"upgrade":{"load":"rollout":"try":"file_sets":[{"name":"version":"state":"current"}],"children":"parent":` +
	`"root":"role":"leaf","message":"reason":"percent":100,"wanted":"inactive":"active":"state":"downloading",` +
	`"boot":"sharing":"on","sharing_from":"enterprise","address":"192.168.10.","program":"peerload",` +
	`"model":"CP-7961G","time":"2026-[{"d":"SEP001122334455","t":17,"c":"==","r":{"schema":1,"time":"2026-",` +
	`"model":"linux-arm","program":"","state":"idle","sharing":"on","sharing_from":"enterprise","active":"`)
