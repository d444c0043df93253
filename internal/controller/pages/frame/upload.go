package frame

import (
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
)

const (
	// uploadTime bounds the sending of files: as long as the API lets it take.
	uploadTime = 3 * time.Hour
	// maxField bounds a field of a form with files, beside the files.
	maxField = 64 << 10
)

// Upload passes the files of a form on to the API while they come, with its fields
// under their own names, and returns the name of what was made. What was typed can be
// shown again after an error.
func (v *Visit) Upload(path string) (name string, err error) {
	_ = http.NewResponseController(v.W).SetReadDeadline(v.Now().Add(uploadTime)) // where there is a connection
	v.R.Body = v.body
	in, err := v.R.MultipartReader()
	if err != nil {
		return "", &client.Error{Status: http.StatusUnprocessableEntity, Kind: client.Invalid, Detail: err.Error()}
	}
	v.R.PostForm = url.Values{}
	first, err := in.NextPart()
	if err != nil || first.FormName() != "csrf" {
		return "", errForged
	}
	token, err := field(first)
	if err != nil {
		return "", err
	}
	v.Guard(token) // the API compares it
	out, to := io.Pipe()
	form := multipart.NewWriter(to)
	passed := make(chan error, 1)
	go func() {
		err := v.pass(in, form)
		to.CloseWithError(err)
		passed <- err
	}()
	r, err := http.NewRequestWithContext(v.Context(), http.MethodPost, "http://controller/api/v1"+path, out)
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := v.door.RoundTrip(r)
	out.Close() // whoever passes on need not go on
	if broken := <-passed; err == nil && broken != nil && resp.StatusCode < http.StatusMultipleChoices {
		err = broken
	}
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return "", problemOf(resp)
	}
	var made struct{ Name string }
	err = json.NewDecoder(resp.Body).Decode(&made)
	return made.Name, err
}

// pass copies the parts of a form: fields are kept, too, and files are not.
func (v *Visit) pass(in *multipart.Reader, out *multipart.Writer) error {
	for {
		p, err := in.NextPart()
		if err == io.EOF {
			return out.Close()
		}
		if err != nil {
			return err
		}
		if p.FormName() == "file" {
			if p.FileName() == "" {
				continue // none was chosen
			}
			w, err := out.CreateFormFile("file", p.FileName())
			if err == nil {
				_, err = io.Copy(w, p)
			}
			if err != nil {
				return err
			}
			continue
		}
		is, err := field(p)
		if err != nil {
			return err
		}
		v.R.PostForm.Add(p.FormName(), is)
		for _, one := range fieldsOf(p.FormName(), is) {
			if err := out.WriteField(p.FormName(), one); err != nil {
				return err
			}
		}
	}
}

// fieldsOf are the values that the API wants of a field: several in the field "from"
// are several, and one that is empty is none.
func fieldsOf(name, is string) []string {
	if name == "from" {
		return strings.Fields(is)
	}
	if strings.TrimSpace(is) == "" {
		return nil
	}
	return []string{strings.TrimSpace(is)}
}

// field is the value of a part that is no file.
func field(p *multipart.Part) (string, error) {
	b, err := io.ReadAll(io.LimitReader(p, maxField+1))
	if err == nil && len(b) > maxField {
		err = &client.Error{Status: http.StatusRequestEntityTooLarge, Kind: client.Invalid, Detail: "a field is too long"}
	}
	return string(b), err
}

// File reads a form with one file, which it bounds. The fields are there for Form then.
func (v *Visit) File(name string, most int64) (b []byte, file string, err error) {
	v.R.Body = http.MaxBytesReader(v.W, v.body, most+maxForm)
	if err := v.R.ParseMultipartForm(most + maxForm); err != nil {
		return nil, "", &client.Error{Status: http.StatusRequestEntityTooLarge, Kind: client.Invalid, Detail: err.Error()}
	}
	v.Guard(v.R.PostFormValue("csrf"))
	if v.R.PostFormValue("csrf") != v.CSRF() {
		return nil, "", errForged
	}
	f, head, err := v.R.FormFile(name)
	if err != nil {
		return nil, "", nil // none was chosen
	}
	defer f.Close()
	b, err = io.ReadAll(f)
	return b, head.Filename, err
}
