// A client of TensorFlow Serving in Go: it sends a photo and prints what it gets as JSON.
// Arguments: the address of the server and a photo.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	tensorflow "serving/tensorflow/core/framework"
	serving "serving/tensorflow_serving/apis"
)

const (
	predict   = "/tensorflow.serving.PredictionService/Predict"
	getStatus = "/tensorflow.serving.ModelService/GetModelStatus"
)

// Debian's gRPC is older than its protoc-gen-go, and cannot serialize the generated messages.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}

func (codec) Unmarshal(data []byte, message interface{}) error {
	return proto.Unmarshal(data, message.(proto.Message))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func predictRequest(image []byte) *serving.PredictRequest {
	version := &serving.ModelSpec_Version{Version: wrapperspb.Int64(1)}
	return &serving.PredictRequest{
		ModelSpec: &serving.ModelSpec{Name: "encoded", VersionChoice: version},
		Inputs: map[string]*tensorflow.TensorProto{"image_bytes": {
			Dtype:       tensorflow.DataType_DT_STRING,
			TensorShape: &tensorflow.TensorShapeProto{Dim: []*tensorflow.TensorShapeProto_Dim{{Size: 1}}},
			StringVal:   [][]byte{image},
		}},
	}
}

// floats reads the scores of a tensor, which a server sends in either of two fields.
func floats(tensor *tensorflow.TensorProto) []float32 {
	if len(tensor.FloatVal) > 0 {
		return tensor.FloatVal
	}
	values := make([]float32, len(tensor.TensorContent)/4)
	check(binary.Read(bytes.NewReader(tensor.TensorContent), binary.LittleEndian, values))
	return values
}

func main() {
	address := os.Args[1]
	photo, err := os.ReadFile(os.Args[2])
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	calls := grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{}))
	connection, err := grpc.DialContext(ctx, address, grpc.WithInsecure(), grpc.WithBlock(), calls)
	check(err)

	answer := &serving.PredictResponse{}
	check(connection.Invoke(ctx, predict, predictRequest(photo), answer))
	models := &serving.GetModelStatusResponse{}
	one := &serving.GetModelStatusRequest{ModelSpec: &serving.ModelSpec{Name: "encoded"}}
	check(connection.Invoke(ctx, getStatus, one, models))
	refusal := connection.Invoke(ctx, predict, predictRequest([]byte("text")), &serving.PredictResponse{})

	check(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"scores":  floats(answer.Outputs["scores"]),
		"version": answer.ModelSpec.GetVersion().Value,
		"state":   models.ModelVersionStatus[0].State.String(),
		"refusal": status.Code(refusal).String(),
	}))
}
