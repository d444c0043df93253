package provision

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/peerload/peerload/internal/policy"
)

// The roots of the two files.
const (
	rootDevice  = "device"
	rootDefault = "Default"
)

// loadElement begins the name of the elements that name loads; setsElement holds
// those that name file sets, each a setElement.
const (
	loadElement = "loadInformation"
	setsElement = "fileSets"
	setElement  = "fileSet"
)

// Parse reads SEP<MAC>.cnf.xml or XMLDefault.cnf.xml as phones do: unknown
// elements are kept but have no effect, empty ones set nothing, and of two in
// one section the later counts. A known element with an invalid value is an
// error. There are no entities except XML's own five, and nothing outside the
// text is ever read. Errors match ErrFile and give the line.
func Parse(b []byte) (*File, error) {
	if len(b) > MaxSize {
		return nil, badLine(0, "%d bytes are more than %d", len(b), MaxSize)
	}
	if bytes.HasPrefix(b, []byte{0xfe, 0xff}) || bytes.HasPrefix(b, []byte{0xff, 0xfe}) {
		return nil, badLine(1, "the text is UTF-16: save it as UTF-8")
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	r := &reader{dec: xml.NewDecoder(bytes.NewReader(b)), file: &File{}}
	r.dec.CharsetReader = charset
	for {
		tok, err := r.dec.Token()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = r.token(tok)
		}
		if err != nil {
			return nil, r.wrong(err)
		}
	}
	if !r.rooted {
		return nil, badLine(r.line(), "there is no element in it")
	}
	return r.file, nil
}

// reader reads one text.
type reader struct {
	dec    *xml.Decoder
	file   *File
	rooted bool
	count  int
	path   []string
	open   []xmlOpen
}

// xmlOpen is an element that has begun.
type xmlOpen struct {
	line  int
	model string // the attributes that matter
	dir   string
	text  []byte
	inner bool // has elements in it
}

func (r *reader) line() int { n, _ := r.dec.InputPos(); return n }

// wrong gives an error its line.
func (r *reader) wrong(err error) error {
	var e *Error
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &syntax):
		return badLine(syntax.Line, "not well-formed: %s", syntax.Msg)
	}
	return &Error{Line: r.line(), Err: err}
}

func (r *reader) token(tok xml.Token) error {
	switch t := tok.(type) {
	case xml.StartElement:
		return r.begin(t)
	case xml.EndElement:
		return r.end()
	case xml.CharData:
		if n := len(r.open); n > 0 {
			r.open[n-1].text = append(r.open[n-1].text, t...)
		}
	case xml.Directive:
		return fmt.Errorf("a document type is not read: remove <!%.20s…>", t)
	}
	return nil
}

func (r *reader) begin(t xml.StartElement) error {
	name := t.Name.Local
	if r.count++; r.count > MaxElements {
		return fmt.Errorf("more than %d elements", MaxElements)
	}
	if len(r.path) == MaxDepth {
		return fmt.Errorf("elements stand more than %d deep", MaxDepth)
	}
	if len(r.path) == 0 {
		if r.rooted {
			return fmt.Errorf("a second root <%s>", name)
		}
		if name != rootDevice && name != rootDefault {
			return fmt.Errorf("the root is <%s>; a provisioning file has <%s> or <%s>", name, rootDevice, rootDefault)
		}
		r.rooted, r.file.Default = true, name == rootDefault
	}
	if n := len(r.open); n > 0 {
		r.open[n-1].inner = true
	}
	o := xmlOpen{line: r.line()}
	for _, a := range t.Attr {
		switch a.Name.Local {
		case "model":
			o.model = strings.TrimSpace(a.Value)
		case "directory":
			o.dir = strings.TrimSpace(a.Value)
		}
	}
	r.path, r.open = append(r.path, name), append(r.open, o)
	return nil
}

func (r *reader) end() error {
	n := len(r.open) - 1
	o := &r.open[n]
	e := Element{Path: strings.Join(r.path, "/"), Value: strings.TrimSpace(string(o.text)), Line: o.line}
	known, err := r.element(o, e)
	if err != nil {
		var at *Error
		if !errors.As(err, &at) {
			err = &Error{Line: o.line, Err: err}
		}
		return err
	}
	if !known && n > 0 && !o.inner {
		r.file.Others = append(r.file.Others, e)
	}
	r.path, r.open = r.path[:n], r.open[:n]
	return nil
}

// element takes an element that has ended. If known is false, it belongs to
// File.Others.
func (r *reader) element(o *xmlOpen, e Element) (known bool, err error) {
	name := r.path[len(r.path)-1]
	switch s := r.section(); {
	case len(r.path) == 1:
		return true, nil
	case r.path[1] == grantElement:
		return r.grant(o, e)
	case len(r.path) == 2 && s != nil:
		return true, nil
	case len(r.path) == 3 && s != nil && s.element == modelElement && name == groupElement && !o.inner:
		r.file.Group = e.Value
		return true, checkGroup(e.Value)
	case len(r.path) == 3 && s != nil:
		if known, ok := policy.ByElement(name); ok && !o.inner {
			return true, r.setting(s, known, e.Value)
		}
	case len(r.path) == 2 && name == setsElement:
		if _, told := r.file.FileSets.Told(); !told {
			r.file.FileSets = TellFileSets(nil)
		}
		return true, nil
	case len(r.path) == 3 && r.path[1] == setsElement && name == setElement && !o.inner:
		return true, r.fileSet(o, e)
	case len(r.path) == 2 && strings.HasPrefix(name, loadElement) &&
		strings.Trim(name[len(loadElement):], "0123456789") == "":
		a := Assignment{Load: loadName(e.Value), Model: o.model, Type: name[len(loadElement):], Line: e.Line}
		if len(r.file.Loads) == MaxLoads {
			return true, fmt.Errorf("more than %d loads", MaxLoads)
		}
		if err := a.validate(); err != nil {
			return true, fmt.Errorf("<%s>: %w", name, err)
		}
		r.file.Loads = append(r.file.Loads, a)
		return true, nil
	}
	return false, nil
}

// fileSet takes an element that names a file set. Of two for one directory the later
// counts, as of settings; an empty one names none.
func (r *reader) fileSet(o *xmlOpen, e Element) error {
	by, _ := r.file.FileSets.Told()
	if by == nil {
		by = map[string]string{}
	}
	if by[o.dir] = loadName(e.Value); by[o.dir] == "" {
		delete(by, o.dir)
	}
	r.file.FileSets = TellFileSets(by)
	if err := r.file.FileSets.validate(); err != nil {
		return fmt.Errorf("<%s>: %w", setElement, err)
	}
	return nil
}

// section returns the section that the current element is or is in.
func (r *reader) section() *section {
	if len(r.path) < 2 {
		return nil
	}
	for i := range sections {
		if sections[i].element == r.path[1] {
			return &sections[i]
		}
	}
	return nil
}

func (r *reader) setting(sec *section, s policy.Setting, text string) error {
	if text == "" {
		return nil // an empty element sets nothing
	}
	v, err := s.FromElement(text)
	if err != nil {
		return fmt.Errorf("<%s>: %w", s.Element, err)
	}
	values := sec.of(&r.file.Levels)
	if *values == nil {
		*values = policy.Values{}
	}
	(*values)[s.Name] = v
	return nil
}

// charset reads the two encodings besides UTF-8 that such files use.
func charset(name string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(name) {
	case "us-ascii", "ascii", "utf8":
		return in, nil
	case "iso-8859-1", "latin1":
		return &latin1{in: in}, nil
	}
	return nil, fmt.Errorf("the text is said to be %q: save it as UTF-8", name)
}

// latin1 turns ISO 8859-1 into UTF-8.
type latin1 struct {
	in   io.Reader
	rest []byte
	buf  [512]byte
}

// Read implements io.Reader.
func (l *latin1) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		n, err := l.in.Read(l.buf[:])
		if n == 0 {
			return 0, err
		}
		l.rest = l.rest[:0]
		for _, c := range l.buf[:n] {
			l.rest = utf8.AppendRune(l.rest, rune(c))
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
