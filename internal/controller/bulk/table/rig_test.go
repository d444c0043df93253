package table

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
)

// bomb is a small workbook that unpacks to more than MaxUnpacked.
func bomb(t *testing.T) []byte {
	t.Helper()
	from := workbook(t, [][]any{{"device"}})
	in, err := zip.NewReader(bytes.NewReader(from), int64(len(from)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	out := zip.NewWriter(&b)
	for _, file := range in.File {
		r, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		w, err := out.Create(file.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, r); err != nil {
			t.Fatal(err)
		}
	}
	w, err := out.Create("xl/worksheets/sheet9.xml")
	if err != nil {
		t.Fatal(err)
	}
	for range MaxUnpacked/(1<<20) + 1 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// again reads a table, and what was read of it once more.
func again(t *testing.T, b []byte, write func(io.Writer, *Table) error) {
	first, err := Read(b)
	if err != nil {
		if !errors.Is(err, ErrTable) || len(err.Error()) > 2000 {
			t.Fatalf("the error is %v", err)
		}
		return
	}
	good := &Table{Columns: first.Columns}
	for _, r := range first.Rows {
		if r.Problem == "" && r.Device == "" {
			t.Fatalf("%+v names no device", r)
		}
		if r.Problem == "" {
			good.Rows = append(good.Rows, r)
		}
	}
	if len(good.Rows) == 0 {
		return
	}
	var out bytes.Buffer
	if err := write(&out, good); err != nil {
		t.Fatal(err)
	}
	second, err := Read(out.Bytes())
	if err != nil {
		t.Fatalf("%q: %v", out.Bytes(), err)
	}
	for i := range good.Rows {
		good.Rows[i].Line = second.Rows[i].Line
	}
	good.Columns, second.Columns = nil, nil
	if !reflect.DeepEqual(good.Rows, second.Rows) {
		t.Fatalf("%+v was read again as %+v", good, second)
	}
}
