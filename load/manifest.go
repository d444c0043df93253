package load

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// What every manifest of this version declares.
const (
	// schema is the version of the manifest's text form, setSchema that of the
	// manifest of a file set: a program that does not know file sets must not take one
	// for a load.
	schema    = 1
	setSchema = 2
	// algorithm names the hash of every digest in a manifest.
	algorithm = "sha256"
)

// Limits of a manifest.
const (
	// MaxManifestSize bounds the text of a manifest, in bytes (2 MiB).
	MaxManifestSize = 2 << 20
	// MaxComponents bounds the components of a load.
	MaxComponents = 256
	// MaxModels bounds the models that a load names.
	MaxModels = 256
	// MaxTextLen bounds a version and a model's name, in bytes.
	MaxTextLen = 100
)

// Errors of a manifest, for errors.Is.
var (
	// ErrManifest says that a text is no valid manifest.
	ErrManifest = errors.New("bad manifest")
	// ErrSchema says that a manifest is of a schema this program does not
	// know: the program is older than the manifest.
	ErrSchema = errors.New("manifest of an unknown schema")
)

// Manifest describes one load or one file set: which files it has, how each is
// checked, and which models it is for. Its text form is NAME.load, a JSON object that a
// TUF signature covers as a whole; package trust says whether to believe it.
type Manifest struct {
	// Name of the load, as CheckName allows; its file is NAME.load.
	Name string
	// Version is free text for people, 1 to MaxTextLen bytes. Which of two
	// manifests is newer is decided by TUF, never by this.
	Version string
	// Models that the load is for, 1 to MaxModels, unique.
	Models []string
	// Directory makes it a file set, which stands beside the loads in a directory of
	// that name on the device, as CheckDirectory allows. "": it is a load.
	Directory string
	// Created is when the load was made, RFC 3339, or "" if unknown.
	Created string
	// Components in the order in which devices fetch them, 1 to
	// MaxComponents; names are unique also without regard to case.
	Components []Component
}

// Component is one file of a load.
type Component struct {
	// Name is a file name as CheckName allows.
	Name string
	// Size in bytes, 0 to MaxFileSize.
	Size int64
	// Digest is the SHA-256 of the whole file.
	Digest Digest
	// Table has one digest per chunk of Geometry.
	Table Table
}

// Geometry says how the component is divided into chunks.
func (c Component) Geometry() Geometry { return Geometry{Size: c.Size} }

// FileName returns the name of the manifest's file, NAME.load.
func (m *Manifest) FileName() string { return m.Name + ManifestSuffix }

// Size returns the bytes of all components together.
func (m *Manifest) Size() int64 {
	var n int64
	for i := range m.Components {
		n += m.Components[i].Size
	}
	return n
}

// validate checks everything that ParseManifest promises.
func (m *Manifest) validate() error {
	if err := CheckName(m.Name); err != nil {
		return fmt.Errorf("the load's name: %w", err)
	}
	if err := checkText("version", m.Version); err != nil {
		return err
	}
	if m.Directory != "" {
		if err := CheckDirectory(m.Directory); err != nil {
			return err
		}
	}
	if m.Created != "" {
		if _, err := time.Parse(time.RFC3339, m.Created); err != nil {
			return fmt.Errorf("created %q is not a time in RFC 3339: %w", m.Created, err)
		}
	}
	if err := m.validateModels(); err != nil {
		return err
	}
	if n := len(m.Components); n < 1 || n > MaxComponents {
		return fmt.Errorf("it has %d components; 1 to %d are allowed", n, MaxComponents)
	}
	seen := make(map[string]string, len(m.Components))
	for i := range m.Components {
		c := &m.Components[i]
		if err := c.validate(); err != nil {
			return fmt.Errorf("component %d: %w", i+1, err)
		}
		if first, ok := seen[fold(c.Name)]; ok {
			return fmt.Errorf("components %q and %q have the same name", first, c.Name)
		}
		seen[fold(c.Name)] = c.Name
	}
	return nil
}

func (m *Manifest) validateModels() error {
	if n := len(m.Models); n < 1 || n > MaxModels {
		return fmt.Errorf("it names %d models; 1 to %d are allowed", n, MaxModels)
	}
	seen := make(map[string]bool, len(m.Models))
	for _, model := range m.Models {
		if err := checkText("model", model); err != nil {
			return err
		}
		if seen[fold(model)] {
			return fmt.Errorf("model %q is named twice", model)
		}
		seen[fold(model)] = true
	}
	return nil
}

func (c *Component) validate() error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	if c.Size == UnknownSize {
		return fmt.Errorf("%q has no size", c.Name)
	}
	g := c.Geometry()
	if err := g.Validate(); err != nil {
		return fmt.Errorf("%q: %w", c.Name, err)
	}
	if c.Digest.IsZero() {
		return fmt.Errorf("%q has no digest", c.Name)
	}
	if len(c.Table) != g.Chunks() {
		return fmt.Errorf("%q of %d bytes has %d chunk digests; %d chunks of %d bytes are right",
			c.Name, c.Size, len(c.Table), g.Chunks(), g.ChunkSize())
	}
	return nil
}

// manifestText is the JSON form. Fields that a later minor version adds are
// skipped; a change of meaning raises the schema.
type manifestText struct {
	Schema     int             `json:"schema"`
	Name       string          `json:"name"`
	Version    string          `json:"version"`
	Models     []string        `json:"models"`
	Directory  string          `json:"directory,omitempty"`
	Created    string          `json:"created,omitempty"`
	Algorithm  string          `json:"algorithm"`
	Components []componentText `json:"components"`
}

type componentText struct {
	Name      string `json:"name"`
	Size      int64  `json:"size"`
	Digest    Digest `json:"digest"`
	ChunkSize int    `json:"chunk_size"`
	// Chunks is the base64 (RFC 4648 section 4) of the concatenated digests of
	// the table.
	Chunks string `json:"chunks"`
}

// Marshal returns the text form: the same manifest gives the same bytes. It
// refuses what ParseManifest would refuse.
func (m *Manifest) Marshal() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	t := manifestText{Schema: schema, Name: m.Name, Version: m.Version, Models: m.Models, Directory: m.Directory,
		Created: m.Created, Algorithm: algorithm, Components: make([]componentText, len(m.Components))}
	if m.Directory != "" {
		t.Schema = setSchema
	}
	for i, c := range m.Components {
		raw := make([]byte, 0, len(c.Table)*len(Digest{}))
		for j := range c.Table {
			raw = append(raw, c.Table[j][:]...)
		}
		t.Components[i] = componentText{Name: c.Name, Size: c.Size, Digest: c.Digest,
			ChunkSize: c.Geometry().ChunkSize(), Chunks: base64.StdEncoding.EncodeToString(raw)}
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if buf.Len() > MaxManifestSize {
		return nil, fmt.Errorf("%w: its text has %d bytes, more than %d: divide the load", ErrManifest, buf.Len(),
			MaxManifestSize)
	}
	return buf.Bytes(), nil
}

// ParseManifest reads the text form. What it returns is valid in itself: sizes
// within bounds, tables that fit the sizes, names that are safe as file names.
// Package trust decides whether to believe it. Unknown fields are skipped;
// anything after the object is refused. Errors match ErrManifest or ErrSchema.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) > MaxManifestSize {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrManifest, len(b), MaxManifestSize)
	}
	// The schema is read by itself first: a later schema may give the other
	// fields other types, and the error must still name the cause.
	var head struct {
		Schema int `json:"schema"`
	}
	if err := decodeOne(b, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if head.Schema != schema && head.Schema != setSchema {
		return nil, fmt.Errorf("%w: it says %d, this program knows %d and %d", ErrSchema, head.Schema, schema, setSchema)
	}
	var t manifestText
	if err := decodeOne(b, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if t.Algorithm != algorithm {
		return nil, fmt.Errorf("%w: its digests are %q, this program knows %s", ErrManifest, t.Algorithm, algorithm)
	}
	if n := len(t.Components); n > MaxComponents {
		return nil, fmt.Errorf("%w: it has %d components, more than %d", ErrManifest, n, MaxComponents)
	}
	if (head.Schema == setSchema) != (t.Directory != "") {
		return nil, fmt.Errorf("%w: schema %d and a directory %q do not go together", ErrManifest, head.Schema, t.Directory)
	}
	m := &Manifest{Name: t.Name, Version: t.Version, Models: t.Models, Directory: t.Directory, Created: t.Created,
		Components: make([]Component, len(t.Components))}
	for i := range t.Components {
		c, err := t.Components[i].component()
		if err != nil {
			return nil, fmt.Errorf("%w: component %d: %w", ErrManifest, i+1, err)
		}
		m.Components[i] = c
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, nil
}

// component checks the stated chunk size and unpacks the table.
func (t *componentText) component() (Component, error) {
	c := Component{Name: t.Name, Size: t.Size, Digest: t.Digest}
	g := c.Geometry()
	if err := g.Validate(); err != nil || !g.Known() {
		return Component{}, fmt.Errorf("%q: its size %d is outside 0 to %d", t.Name, t.Size, int64(MaxFileSize))
	}
	if t.ChunkSize != g.ChunkSize() {
		return Component{}, fmt.Errorf("%q: chunks of %d bytes; a file of %d bytes has chunks of %d",
			t.Name, t.ChunkSize, t.Size, g.ChunkSize())
	}
	const each = len(Digest{})
	if want := base64.StdEncoding.EncodedLen(g.Chunks() * each); len(t.Chunks) != want {
		return Component{}, fmt.Errorf("%q: its chunk table has %d characters; %d chunks make %d",
			t.Name, len(t.Chunks), g.Chunks(), want)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(t.Chunks)
	if err != nil || len(raw) != g.Chunks()*each {
		return Component{}, fmt.Errorf("%q: its chunk table is not base64 of %d digests", t.Name, g.Chunks())
	}
	c.Table = make(Table, g.Chunks())
	for i := range c.Table {
		copy(c.Table[i][:], raw[i*each:])
	}
	return c, nil
}

// decodeOne decodes exactly one JSON value.
func decodeOne(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}
