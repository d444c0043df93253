// Package limits tests that a configuration refuses what its fields may not be.
//
// What lives here: a table of the numbers that are valid of each field, and the
// test that the table is complete and that Validate agrees with it. What must
// not: what a package's numbers may be. Read Test first.
package limits

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
)

// Range are the numbers that a field may have while all others are as in the
// configuration that is known to be good.
type Range struct {
	least, most int64
	why         string // not "": nothing is refused
}

// AtLeast means numbers from n on.
func AtLeast(n int64) Range { return Range{least: n, most: math.MaxInt64} }

// Between means numbers from least to most, both included.
func Between(least, most int64) Range { return Range{least: least, most: most} }

// Any means that nothing is refused, for a reason that people can read.
func Any(why string) Range { return Range{least: math.MinInt64, most: math.MaxInt64, why: why} }

// Test fails t unless good is valid, every exported field of it has a row,
// and validate accepts the ends of each range and refuses what is one beyond.
// Fields that are not numbers need a row with Any; others test them.
func Test[C any](t testing.TB, good C, validate func(C) error, rows map[string]Range) {
	t.Helper()
	for _, problem := range problems(good, validate, rows) {
		t.Error(problem)
	}
}

func problems[C any](good C, validate func(C) error, rows map[string]Range) (found []string) {
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if err := validate(good); err != nil {
		say("what should be good is refused: %v", err)
	}
	typ, left := reflect.TypeFor[C](), len(rows)
	for i := range typ.NumField() {
		field := typ.Field(i)
		if !field.IsExported() {
			continue
		}
		r, ok := rows[field.Name]
		if !ok {
			say("%s has no row: say what it may be", field.Name)
			continue
		}
		left--
		if !isNumber(field.Type) {
			if r.why == "" {
				say("%s is no number: give it Any and a test of its own", field.Name)
			}
			continue
		}
		for _, n := range r.ends() {
			c := good
			reflect.ValueOf(&c).Elem().Field(i).SetInt(n)
			if err := validate(c); err != nil {
				say("%s = %d is refused: %v", field.Name, n, err)
			}
		}
		for _, n := range r.beyond() {
			c := good
			reflect.ValueOf(&c).Elem().Field(i).SetInt(n)
			if validate(c) == nil {
				say("%s = %d is valid", field.Name, n)
			}
		}
	}
	if left > 0 {
		say("%d rows name no field", left)
	}
	return found
}

func isNumber(t reflect.Type) bool {
	return slices.Contains([]reflect.Kind{reflect.Int, reflect.Int64, reflect.Int32}, t.Kind())
}

// ends are the least and the greatest number of the range, where it has them.
func (r Range) ends() (all []int64) {
	if r.least != math.MinInt64 {
		all = append(all, r.least)
	}
	if r.most != math.MaxInt64 {
		all = append(all, r.most)
	}
	return all
}

// beyond are the numbers just outside the range, and one that is far below.
func (r Range) beyond() (all []int64) {
	if r.least != math.MinInt64 {
		all = append(all, r.least-1)
		if r.least >= 0 {
			all = append(all, -1)
		}
	}
	if r.most != math.MaxInt64 {
		all = append(all, r.most+1)
	}
	return all
}
