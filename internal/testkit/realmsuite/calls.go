package realmsuite

import (
	"fmt"
	"reflect"
)

// Samples are the arguments by their type: each method is called with all that
// fit. A type without samples has its zero value.
type Samples map[reflect.Type][]any

// Add adds samples of one type.
func Add[T any](s Samples, values ...T) {
	for _, v := range values {
		s[reflect.TypeFor[T]()] = append(s[reflect.TypeFor[T]()], v)
	}
}

// Call is one call of a method.
type Call struct {
	Method string
	fn     reflect.Value
	args   []reflect.Value
}

// String writes the call for people.
func (c Call) String() string {
	text := c.Method
	for _, a := range c.args {
		text += fmt.Sprintf(" %.60s", fmt.Sprintf("%+v", a.Interface())) // enough to find the sample
	}
	return text
}

// Do calls it and returns the results without the error.
func (c Call) Do() (results []any, err error) {
	for _, r := range c.fn.Call(c.args) {
		if e, ok := r.Interface().(error); ok {
			err = e
			continue
		}
		results = append(results, r.Interface())
	}
	return results, err
}

// Of returns the calls of all methods of v that take a T, in order, with every
// combination of samples; and the names of those that take none, or that go on in
// what somebody else has begun: an interface that has no sample.
func Of[T any](v any, s Samples) (all []Call, others []string) {
	of := reflect.ValueOf(v)
	for i := range of.NumMethod() {
		fn, name := of.Method(i), of.Type().Method(i).Name
		takes, within := false, false
		combined := [][]reflect.Value{nil}
		for j := range fn.Type().NumIn() {
			in := fn.Type().In(j)
			takes = takes || in == reflect.TypeFor[T]()
			within = within || in.Kind() == reflect.Interface && len(s[in]) == 0
			var longer [][]reflect.Value
			for _, args := range combined {
				for _, sample := range s.of(in) {
					longer = append(longer, append(args[:len(args):len(args)], sample))
				}
			}
			combined = longer
		}
		if !takes || within {
			others = append(others, name)
			continue
		}
		for _, args := range combined {
			all = append(all, Call{name, fn, args})
		}
	}
	return all, others
}

func (s Samples) of(t reflect.Type) (all []reflect.Value) {
	for _, v := range s[t] {
		of := reflect.New(t).Elem()
		of.Set(reflect.ValueOf(v))
		all = append(all, of)
	}
	if len(all) == 0 {
		return []reflect.Value{reflect.Zero(t)}
	}
	return all
}
