package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/stepping"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/load"
)

// Retired takes a load out of use, or back.
type Retired struct {
	Retired bool `json:"retired"`
}

// LoadFrom says from which versions a load may be installed.
type LoadFrom struct {
	From []string `json:"from" maxItems:"64" doc:"patterns, * for any text, none for no load; empty for any version"`
}

// Verified is what was found of all loads.
type Verified struct {
	// Problem of the repository as a whole, "" if there is none.
	Problem string               `json:"problem,omitempty"`
	Loads   []domain.CheckedLoad `json:"loads"`
}

// Root is the repository's newest root of trust.
type Root struct {
	Version int64 `json:"version"`
	// Root is the text of root.json.
	Root []byte `json:"root"`
}

type loadQuery struct {
	Paged
	Text    string `query:"text" maxLength:"100" doc:"part of the name; of file sets, or of the directory"`
	Retired bool   `query:"retired" doc:"retired loads too"`
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

func (s *Server) loads() {
	register(s, op(http.MethodGet, "/loads", "list-loads", "List loads", needRead),
		func(ctx context.Context, in *loadQuery) (*plain[domain.List[domain.Load]], error) {
			l, err := s.ctl.Loads(ctx, actor(ctx), domain.LoadFilter{Text: in.Text, Retired: in.Retired}, in.page())
			return answer(s, ctx, l, err)
		})
	s.addLoad()
	register(s, op(http.MethodPost, "/loads/unsigned", "register-load",
		"Make a classic load known that nobody signs", needLoads),
		func(ctx context.Context, in *struct{ Body domain.UnsignedLoad }) (*versioned[domain.Load], error) {
			l, err := s.ctl.RegisterLoad(ctx, actor(ctx), in.Body)
			return answerVersion(s, ctx, l, l.Version, 0, err)
		})
	register(s, does(op(http.MethodPost, "/loads/verify", "verify-loads", "Check every signature and every byte",
		needLoads)),
		func(ctx context.Context, _ *struct{}) (*plain[Verified], error) {
			all, err := s.ctl.VerifyLoads(ctx, actor(ctx))
			v := Verified{Loads: all}
			if err != nil && ctx.Err() == nil && !errors.Is(err, domain.ErrUnavailable) && !errors.Is(err, domain.ErrForbidden) {
				v.Problem, err = err.Error(), nil
			}
			return answer(s, ctx, v, err)
		})
	register(s, op(http.MethodGet, "/loads/{load}", "get-load", "A load", needRead),
		func(ctx context.Context, in *LoadPath) (*versioned[domain.Load], error) {
			l, err := s.ctl.Load(ctx, actor(ctx), in.Load)
			return answerVersion(s, ctx, l, l.Version, 0, err)
		})
	register(s, op(http.MethodGet, "/loads/{load}/reach", "reach-of-load",
		"The devices that should have a load, or a file set of that name", needRead),
		func(ctx context.Context, in *LoadPath) (*plain[domain.Reach], error) {
			r, err := s.ctl.ReachOf(ctx, actor(ctx), in.Load)
			return answer(s, ctx, r, err)
		})
	register(s, op(http.MethodPatch, "/loads/{load}", "retire-load", "Take a load out of use, or back",
		needLoads),
		func(ctx context.Context, in *struct {
			LoadPath
			Changing[Retired]
		}) (*versioned[domain.Load], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			l, err := s.ctl.RetireLoad(ctx, actor(ctx), in.Load, in.Body.Retired, v)
			return answerVersion(s, ctx, l, l.Version, v, err)
		})
	register(s, op(http.MethodPut, "/loads/{load}/from", "set-load-from",
		"Say from which versions a load may be installed", needLoads),
		func(ctx context.Context, in *struct {
			LoadPath
			Changing[LoadFrom]
		}) (*versioned[domain.Load], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			l, err := s.ctl.SetLoadFrom(ctx, actor(ctx), in.Load, in.Body.From, v)
			return answerVersion(s, ctx, l, l.Version, v, err)
		})
	s.trust()
}

// trust are the operations of the repository's signatures.
func (s *Server) trust() {
	root := op(http.MethodGet, "/trust/root", "get-root", "The root of trust that devices are given", needRead)
	root.Errors = append(root.Errors, http.StatusNotFound)
	register(s, root,
		func(ctx context.Context, _ *struct{}) (*plain[Root], error) {
			b, v, err := s.ctl.Root()
			return answer(s, ctx, Root{v, b}, err)
		})
	register(s, quiet(op(http.MethodPost, "/trust/keys/{role}/rotate", "rotate-key",
		"Give a role of the repository a new key", needAccess)),
		func(ctx context.Context, in *RolePath) (*struct{}, error) {
			role := in.Role
			if err := choice.Check("role", role, []string{"root", "targets", "snapshot", "timestamp"}); err != nil {
				return nil, problem(http.StatusNotFound, "not-found", err.Error())
			}
			return nothing(s, ctx, 0, s.ctl.RotateKeys(ctx, actor(ctx), role))
		})
}

// addLoad publishes uploaded files. The body is read as it comes, into files.
func (s *Server) addLoad() {
	add := op(http.MethodPost, "/loads", "add-load", "Sign files as a load and publish it", needLoads)
	add.Description = "The fields stand before the files: name, version, model (repeated), replace (true), from " +
		"(repeated). Then the files, in the order in which devices fetch them."
	register(s, add, func(ctx context.Context, in *upload) (*versioned[domain.Load], error) {
		return published(ctx, s, in, func(form uploaded) (l domain.Load, version int64, err error) {
			if form.Directory != "" {
				return l, 0, fmt.Errorf("%w: a load has no directory: add it as a file set", domain.ErrInvalid)
			}
			l, err = s.ctl.AddLoadFrom(ctx, actor(ctx), form.Request, form.from)
			return l, l.Version, err
		})
	}, takesForm([]string{"name", "version", "model", "file"}, "from",
		&huma.Schema{Type: huma.TypeArray, Items: textSchema()}))
}

func textSchema() *huma.Schema { return &huma.Schema{Type: huma.TypeString} }

// takesForm describes the form of files to publish, with a field more than all have.
func takesForm(required []string, name string, field *huma.Schema) detail {
	// Described after it was registered: huma would read a body that it knows.
	return detail{after: func(p *huma.PathItem) {
		p.Post.RequestBody = &huma.RequestBody{Required: true,
			Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: &huma.Schema{
				Type: huma.TypeObject, Required: required, Properties: map[string]*huma.Schema{
					"name": textSchema(), "version": textSchema(), "model": {Type: huma.TypeArray, Items: textSchema()},
					"replace": {Type: huma.TypeBoolean}, name: field,
					"file": {Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}}}}
	}}
}

// published receives files, publishes them, and leaves none of them behind.
func published[T any](ctx context.Context, s *Server, in *upload,
	publish func(uploaded) (T, int64, error)) (*versioned[T], error) {
	dir, err := os.MkdirTemp(s.cfg.Spool, "upload-")
	if err != nil {
		return nil, s.fail(ctx, err, 0)
	}
	defer os.RemoveAll(dir)
	form, err := in.receive(dir, s.cfg.MaxUpload)
	if err != nil {
		return nil, s.fail(ctx, err, 0)
	}
	item, version, err := publish(form)
	return answerVersion(s, ctx, item, version, 0, err)
}

// upload is a request whose body is not read before its handler.
type upload struct {
	contentType string
	body        io.Reader
}

// uploadTimeout bounds the time of an upload: the server's own read timeout is
// made for short requests.
const uploadTimeout = 2 * time.Hour

// Resolve implements huma.Resolver.
func (u *upload) Resolve(ctx huma.Context) []error {
	u.contentType, u.body = ctx.Header("Content-Type"), ctx.BodyReader()
	// A connection that knows no deadlines, as that within this process, needs none.
	_ = ctx.SetReadDeadline(time.Now().Add(uploadTimeout))
	return nil
}

// maxField bounds a field of the form, in bytes.
const maxField = 4096

// uploaded is what an upload asks for.
type uploaded struct {
	publish.Request
	from []string
}

// receive writes the files into dir.
func (u *upload) receive(dir string, most int64) (req uploaded, err error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", domain.ErrInvalid, fmt.Errorf(format, args...))
	}
	kind, params, err := mime.ParseMediaType(u.contentType)
	if err != nil || kind != "multipart/form-data" {
		return req, bad("the body must be multipart/form-data")
	}
	parts := multipart.NewReader(u.body, params["boundary"])
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return req, nil
		}
		if err != nil {
			return req, bad("the form is broken: %w", err)
		}
		if n > load.MaxComponents+load.MaxModels+stepping.MaxPatterns+8 {
			return req, bad("the form has too many parts")
		}
		if part.FormName() != "file" {
			if err := field(&req, part); err != nil {
				return req, bad("field %.40q: %w", part.FormName(), err)
			}
			continue
		}
		name := part.FileName() // without directories
		if err := load.CheckName(name); err != nil {
			return req, bad("%w", err)
		}
		sub := filepath.Join(dir, fmt.Sprint(n)) // two of one name are publish's matter
		if err := os.Mkdir(sub, 0o700); err != nil {
			return req, err
		}
		size, err := save(filepath.Join(sub, name), part, most)
		if err != nil {
			return req, err
		}
		if most -= size; most < 0 {
			return req, bad("the files are too large for this controller")
		}
		req.Files = append(req.Files, filepath.Join(sub, name))
	}
}

func field(req *uploaded, part *multipart.Part) error {
	b, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if err != nil {
		return err
	}
	if len(b) > maxField {
		return fmt.Errorf("more than %d bytes", maxField)
	}
	switch v := string(b); part.FormName() {
	case "name":
		req.Name = v
	case "version":
		req.Version = v
	case "model":
		req.Models = append(req.Models, v)
	case "replace":
		req.Replace = v == "true"
	case "directory":
		req.Directory = v
	case "from":
		req.from = append(req.from, v)
	default:
		return errors.New("there is no such field")
	}
	return nil
}

// save writes a file of at most most bytes; of a larger one it reads one more.
func save(path string, from io.Reader, most int64) (n int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(f, io.LimitReader(from, most+1))
	if err != nil && !errors.As(err, new(*os.PathError)) {
		err = fmt.Errorf("%w: the upload ended early: %w", domain.ErrInvalid, err)
	}
	return n, errors.Join(err, f.Close())
}

// ModelRows are rows of the model table.
type ModelRows struct {
	Models []policy.ModelRow `json:"models" minItems:"1" maxItems:"10000"`
}

// ModelList is the whole table.
type ModelList struct {
	Items []domain.Model `json:"items"`
}

func (s *Server) models() {
	register(s, op(http.MethodGet, "/models", "list-models", "The model table", needRead),
		func(ctx context.Context, _ *struct{}) (*plain[ModelList], error) {
			all, err := s.ctl.Models(ctx, actor(ctx))
			return answer(s, ctx, ModelList{all}, err)
		})
	put := does(op(http.MethodPost, "/models", "put-models", "Add or replace rows, all or none", needEnterprise))
	put.MaxBodyBytes = bulkBytes
	register(s, put, func(ctx context.Context, in *struct{ Body ModelRows }) (*plain[ModelList], error) {
		all, err := s.ctl.PutModels(ctx, actor(ctx), in.Body.Models)
		return answer(s, ctx, ModelList{all}, err)
	})
	register(s, op(http.MethodGet, "/models/{model}", "get-model", "A model with all its settings", needRead),
		func(ctx context.Context, in *ModelPath) (*plain[domain.Model], error) {
			m, err := s.ctl.Model(ctx, actor(ctx), in.Model)
			return answer(s, ctx, m, err)
		})
	register(s, op(http.MethodDelete, "/models/{model}", "delete-model",
		"Remove an added row, or bring the built-in one back", needEnterprise),
		func(ctx context.Context, in *ModelPath) (*struct{}, error) {
			return nothing(s, ctx, 0, s.ctl.DeleteModel(ctx, actor(ctx), in.Model))
		})
}
