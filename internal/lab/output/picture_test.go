package output

import "testing"

func TestPictureCutsAndColours(t *testing.T) {
	p := &Picture{Color: true}
	if c := p.render([]Span{Red.Text("ab"), Plain.Text("cd")}, 4); c != "\x1b[31mab\x1b[0mc" {
		t.Errorf("cut to %q", c)
	}
}
