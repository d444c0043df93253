package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
)

// ModelRows are rows of the model table.
type ModelRows struct {
	Models []policy.ModelRow `json:"models" minItems:"1" maxItems:"10000"`
}

// ModelList is the whole table.
type ModelList struct {
	Items []domain.Model `json:"items"`
}

func (s *Server) models() {
	huma.Register(s.api, op(http.MethodGet, "/models", "list-models", "The model table", needRead),
		func(ctx context.Context, _ *struct{}) (*plain[ModelList], error) {
			all, err := s.ctl.Models(ctx, actor(ctx))
			return answer(s, ctx, ModelList{all}, err)
		})
	put := does(op(http.MethodPost, "/models", "put-models", "Add or replace rows, all or none", needEnterprise))
	put.MaxBodyBytes = bulkBytes
	huma.Register(s.api, put, func(ctx context.Context, in *struct{ Body ModelRows }) (*plain[ModelList], error) {
		all, err := s.ctl.PutModels(ctx, actor(ctx), in.Body.Models)
		return answer(s, ctx, ModelList{all}, err)
	})
	huma.Register(s.api, op(http.MethodGet, "/models/{model}", "get-model", "A model with all its settings", needRead),
		func(ctx context.Context, in *ModelPath) (*plain[domain.Model], error) {
			m, err := s.ctl.Model(ctx, actor(ctx), in.Model)
			return answer(s, ctx, m, err)
		})
	huma.Register(s.api, op(http.MethodDelete, "/models/{model}", "delete-model",
		"Remove an added row, or bring the built-in one back", needEnterprise),
		func(ctx context.Context, in *ModelPath) (*struct{}, error) {
			return nothing(s, ctx, 0, s.ctl.DeleteModel(ctx, actor(ctx), in.Model))
		})
}
