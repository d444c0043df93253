package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	lite "modernc.org/sqlite"
)

const (
	// maxStatements bounds the statements that a connection keeps.
	maxStatements = 128
	// maxStatement bounds one of them, in bytes: long ones write many rows at once, and
	// are seldom the same.
	maxStatement = 2000
)

// connector makes connections that keep their statements: to parse one takes longer
// than to find a row.
type connector struct{ driver.Connector }

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	of, ok := made.(whole)
	if !ok {
		return nil, errors.Join(fmt.Errorf("sqlite: the driver's connection is a %T", made), made.Close())
	}
	return &keeping{whole: of, kept: map[string]*statement{}}, nil
}

// whole is what a connection of the driver can do.
type whole interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	lite.FileControl
}

// prepared is what a statement of the driver can do.
type prepared interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// statement is one that is kept. It is busy while its rows are read.
type statement struct {
	prepared
	busy bool
}

// keeping is a connection that keeps statements. database/sql uses it for one thing
// at a time.
type keeping struct {
	whole
	kept map[string]*statement
}

// take returns a statement to be used now; nil if this one is not kept, or in use.
func (c *keeping) take(ctx context.Context, query string) (*statement, error) {
	if s := c.kept[query]; s != nil {
		if s.busy {
			return nil, nil
		}
		return s, nil
	}
	verb, _, _ := strings.Cut(query, " ")
	switch {
	case len(query) > maxStatement:
		return nil, nil
	case verb != "SELECT" && verb != "INSERT" && verb != "UPDATE" && verb != "DELETE":
		return nil, nil
	}
	if err := c.makeRoom(); err != nil {
		return nil, err
	}
	made, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s, ok := made.(prepared)
	if !ok {
		return nil, errors.Join(fmt.Errorf("sqlite: the driver's statement is a %T", made), made.Close())
	}
	c.kept[query] = &statement{prepared: s}
	return c.kept[query], nil
}

// makeRoom drops any statement if there are too many.
func (c *keeping) makeRoom() error {
	if len(c.kept) < maxStatements {
		return nil
	}
	for query, s := range c.kept {
		if !s.busy {
			delete(c.kept, query)
			return s.Close()
		}
	}
	return nil
}

// ExecContext implements driver.ExecerContext.
func (c *keeping) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.whole.ExecContext(ctx, query, args)
	}
	return s.ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (c *keeping) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.whole.QueryContext(ctx, query, args)
	}
	found, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return rows{found, s}, nil
}

// rows are those of a statement that is kept.
type rows struct {
	driver.Rows
	of *statement
}

// Close implements driver.Rows.
func (r rows) Close() error {
	r.of.busy = false
	return r.Rows.Close()
}

// Close implements driver.Conn.
func (c *keeping) Close() error {
	var errs []error
	for _, s := range c.kept {
		errs = append(errs, s.Close())
	}
	c.kept = map[string]*statement{}
	return errors.Join(append(errs, c.whole.Close())...)
}
