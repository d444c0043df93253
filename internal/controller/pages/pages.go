// Package pages has the controller's pages for people. Each page shows what the API
// says, and changes what the API lets the signed-in user change.
//
// What lives here: what each page is about, in a file of its subject with a template
// beside it. What must not: layout, sign-in and forms, which package frame has; words
// in Japanese, which package words has; rules and rights, which are the API's.
//
// Read first: pages.go, then overview.go as the example for all others.
package pages

import (
	"embed"
	"time"

	"github.com/peerload/peerload/internal/controller/pages/drafts"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/controller/pages/reports"
)

//go:embed templates
var templates embed.FS

// New returns the pages over an API. It answers the requests of the API, too.
func New(cfg frame.Config) (*frame.Frame, error) {
	f, err := frame.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := f.Templates(templates); err != nil {
		return nil, err
	}
	f.Page("GET /{$}", overview)
	f.Page("GET /failures", failures)
	fleetPages(f)
	levelPages(f)
	rolloutPages(f)
	sitePages(f)
	configPages(f)
	softwarePages(f)
	workPages(f)
	accessPages(f)
	drafts.Add(f)
	reports.Add(f)
	return f, nil
}

// form adds a page with a form, which is sent to the same path.
func form(f *frame.Frame, path string, show func(*frame.Visit) error) {
	f.Page("GET "+path, show)
	f.Page("POST "+path, show)
}

func fleetPages(f *frame.Frame) {
	f.Page("GET /devices", fleet)
	f.Page("GET /devices/export", exportDevices)
	form(f, "/devices/new", addDevice)
	f.Page("GET /devices/{device}", device)
	form(f, "/devices/{device}/edit", editDevice)
	f.Page("GET /devices/{device}/delete", deleteDevice)
	form(f, "/devices/{device}/reset", resetIdentity)
}

func rolloutPages(f *frame.Frame) {
	f.Page("GET /rollouts", rolloutList)
	f.Page("GET /rollouts/{rollout}", rollout)
	f.Page("GET /rollouts/{rollout}/devices", rolloutDevices)
	form(f, "/rollouts/{rollout}/order/{verb}", orderRollout)
}

func levelPages(f *frame.Frame) {
	for what, show := range map[string]func(*frame.Visit) error{"settings": settings, "assign": assign,
		"sets": levelSets} {
		form(f, "/"+what+"/{level}/{name}", show)
		form(f, "/"+what+"/{level}", show)
	}
	f.Page("GET /rollback/{level}/{name}", rollBack)
	f.Page("GET /rollback/{level}", rollBack)
	f.Page("GET /undo/{id}", undo)
}

func sitePages(f *frame.Frame) {
	f.Page("GET /sites", siteList)
	form(f, "/sites/new", newSite)
	f.Page("GET /sites/{site}", siteThing)
	f.Page("GET /sites/{site}/live", liveSite)
	form(f, "/sites/{site}/edit", editSite)
	form(f, "/sites/{site}/delete", deleteSite)
}

func configPages(f *frame.Frame) {
	f.Page("GET /profiles", profileList)
	form(f, "/profiles/new", newProfile)
	f.Page("GET /profiles/{profile}", profileThing)
	form(f, "/profiles/{profile}/edit", editProfile)
	form(f, "/profiles/{profile}/delete", deleteProfile)
	f.Page("GET /enterprise", enterpriseThing)
	form(f, "/enterprise/edit", editEnterprise)
	f.Page("GET /models", modelList)
	form(f, "/models/new", newModel)
	f.Page("GET /models/{model}", modelThing)
	form(f, "/models/{model}/delete", deleteModel)
	f.Page("GET /templates", templateList)
	form(f, "/templates/new", newTemplate)
	f.Page("GET /templates/{template}", templateThing)
	form(f, "/templates/{template}/edit", editTemplate)
	form(f, "/templates/{template}/delete", deleteTemplate)
}

func softwarePages(f *frame.Frame) {
	f.Page("GET /loads", loadList)
	form(f, "/loads/new", newLoad)
	form(f, "/loads/unsigned", unsignedLoad)
	form(f, "/loads/verify", verifyLoads)
	f.Page("GET /loads/{load}", loadThing)
	form(f, "/loads/{load}/retire", retireLoad)
	form(f, "/loads/{load}/from", loadFrom)
	f.Page("GET /releases", releaseList)
	form(f, "/releases/new", newRelease)
	f.Page("GET /releases/{release}", releaseThing)
	form(f, "/releases/{release}/edit", editRelease)
	form(f, "/releases/{release}/delete", deleteRelease)
	f.Page("GET /filesets", setList)
	form(f, "/filesets/new", newLoad)
	f.Page("GET /filesets/{fileset}", setThing)
	form(f, "/filesets/{fileset}/retire", retireSet)
}

// workPages are what people have devices do.
func workPages(f *frame.Frame) {
	f.Page("GET /orders", orderList)
	form(f, "/orders/new", newOrder)
	f.Page("GET /orders/{order}", orderThing)
	form(f, "/orders/{order}/cancel", cancelOrder)
	f.Page("GET /bulk", bulk)
	f.Page("POST /bulk/plan", planBulk)
	f.Page("POST /bulk/run", runBulk)
	form(f, "/bulk/query", bulkQuery)
	f.Page("GET /bulk/{job}", bulkJob)
	form(f, "/bulk/{job}/undo", undoJob)
	f.Page("GET /audit", audit)
}

func accessPages(f *frame.Frame) {
	f.Page("GET /users", userList)
	form(f, "/users/new", newUser)
	f.Page("GET /users/{user}", userThing)
	form(f, "/users/{user}/edit", editUser)
	form(f, "/users/{user}/delete", deleteUser)
	form(f, "/users/{user}/sign-out", endSessions)
	f.Page("GET /tokens", tokenList)
	form(f, "/tokens/new", newToken)
	form(f, "/tokens/{token}/delete", deleteToken)
	f.Page("GET /enrolments", enrolmentList)
	form(f, "/enrolments/new", newEnrolment)
	form(f, "/enrolments/{enrolment}/delete", deleteEnrolment)
	f.Page("GET /webhooks", webhookList)
	form(f, "/webhooks/new", newWebhook)
	f.Page("GET /webhooks/{webhook}", webhookThing)
	form(f, "/webhooks/{webhook}/test", testWebhook)
	form(f, "/webhooks/{webhook}/retry", retryWebhook)
	form(f, "/webhooks/{webhook}/delete", deleteWebhook)
	f.Page("GET /trust", trustPage)
	form(f, "/trust/{role}/rotate", rotateKey)
	f.Page("GET /account", account)
	form(f, "/account/password", changePassword)
	form(f, "/account/sign-out", endOwnSessions)
}

// What most pages are made of has short names here.
type (
	cell    = frame.Cell
	table   = frame.Table
	action  = frame.Action
	tab     = frame.Tab
	listing = frame.Listing
	thing   = frame.Thing
)

func text(s string) cell               { return frame.Text(s) }
func link(s string, to ...string) cell { return frame.Link(s, to...) }
func moment(t time.Time) cell          { return frame.Time(t) }
func num(n int) cell                   { return frame.Num(n) }

// only are the actions that whoever is signed in may do.
func only(may bool, actions ...action) []action { return frame.Only(may, actions...) }
