package table

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/xuri/excelize/v2"
)

// readXLSX reads the one sheet of a workbook that has something in it.
func readXLSX(b []byte) (t *Table, err error) {
	defer func() {
		if broken := recover(); broken != nil { // the library trusts the parts of a workbook more than one can
			t, err = nil, fmt.Errorf("it is a damaged xlsx: %v", broken)
		}
	}()
	// Both bounds are one, so that nothing is unpacked to the disk.
	book, err := excelize.OpenReader(bytes.NewReader(b), excelize.Options{RawCellValue: true,
		UnzipSizeLimit: MaxUnpacked, UnzipXMLSizeLimit: MaxUnpacked})
	if err != nil {
		return nil, fmt.Errorf("it is no xlsx, a damaged one, or one of more than %d bytes unpacked: %w", MaxUnpacked, err)
	}
	defer book.Close()
	var records []record
	from := ""
	for _, sheet := range book.GetSheetList() {
		of, err := sheetRecords(book, sheet)
		if err != nil {
			return nil, fmt.Errorf("sheet %.40q: %w", sheet, err)
		}
		if len(of) > 0 && from != "" {
			return nil, fmt.Errorf("sheets %.40q and %.40q both have something in them: keep one", from, sheet)
		}
		if len(of) > 0 {
			records, from = of, sheet
		}
	}
	if len(records) == 0 {
		return nil, errNoColumns
	}
	return build(records, true)
}

// sheetRecords reads the rows of a sheet that are not empty.
func sheetRecords(book *excelize.File, sheet string) (all []record, err error) {
	rows, err := book.Rows(sheet)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for line := 1; rows.Next(); line++ {
		cells, err := rows.Columns()
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", line, err)
		}
		if len(cells) > MaxColumns {
			return nil, fmt.Errorf("row %d: it has %d columns, at most %d", line, len(cells), MaxColumns)
		}
		if blank(cells) {
			continue
		}
		if len(all) > MaxRows {
			return nil, fmt.Errorf("row %d: it has more than %d rows: split it", line, MaxRows)
		}
		all = append(all, record{line: line, cells: cells})
	}
	return all, rows.Error()
}
