{{/* Each template gets a dict of `manifest`, which it changes in place, and `root`, the root of the chart. */}}

{{- define "breed.ConfigMap.gateway-settings" -}}
{{- $data := .manifest.data }}
{{- $_ := set $data "GATEWAY_DEFAULT_MODEL" .root.Values.models.default }}
{{- $others := list }}
{{- $names := list }}
{{- range .root.Values.models.served }}{{- $names = append $names .name }}{{- end }}
{{- if not (has .root.Values.models.default $names) }}{{- fail "models.default must be the name of one of models.served" }}{{- end }}
{{- range .root.Values.models.served }}{{- if ne .name $.root.Values.models.default }}{{- $others = append $others .name }}{{- end }}{{- end }}
{{- if $others }}{{- $_ := set $data "GATEWAY_MODELS" (join "," $others) }}{{- end }}
{{- if .root.Values.gateway.grpcPort }}{{- $_ := set $data "GATEWAY_GRPC_PORT" (toString .root.Values.gateway.grpcPort) }}{{- end }}
{{- range $name, $value := .root.Values.gateway.settings }}{{- $_ := set $data $name (toString $value) }}{{- end }}
{{- end }}

{{- define "breed.ConfigMap.serving-config" -}}
{{- $_ := set .manifest.data "models.config" (include "breed.models" .root) }}
{{- if .root.Values.serving.gpu }}
{{- $gpu := fromYaml (.root.Files.Get "kubernetes/overlays/gpu/batching.yaml") }}
{{- $_ := set .manifest.data "batching.config" (index $gpu.data "batching.config") }}
{{- end }}
{{- end }}

{{- define "breed.models" -}}
model_config_list {
{{- range .Values.models.served }}
  config {
    name: "{{ .name }}"
    base_path: "/models/{{ .name }}"
    model_platform: "tensorflow"
    {{- if .labels }}
    model_version_policy { specific { {{ range (values .labels | uniq | sortAlpha) }}versions: {{ . }} {{ end }}} }
    {{- range $label, $version := .labels }}
    version_labels { key: "{{ $label }}" value: {{ $version }} }
    {{- end }}
    {{- end }}
  }
{{- end }}
}
{{ end }}

{{- define "breed.Deployment.gateway" -}}
{{- $values := .root.Values.gateway }}
{{- $container := index .manifest.spec.template.spec.containers 0 }}
{{- include "breed.pod" (dict "manifest" .manifest "container" $container "values" $values "root" .root) }}
{{- $secret := .root.Values.existingSecret }}
{{- if .root.Values.apiKeys }}{{- $secret = "gateway-api-keys" }}{{- end }}
{{- if $secret }}
{{- $_ := set $container "envFrom" (append $container.envFrom (dict "secretRef" (dict "name" $secret))) }}
{{- end }}
{{- if $values.grpcPort }}
{{- $_ := set $container "ports" (append $container.ports (dict "name" "grpc" "containerPort" $values.grpcPort)) }}
{{- end }}
{{- /* Settings are read at start: pods with other settings are other pods. */}}
{{- $settings := dict }}
{{- range regexSplit "(?m)^---$" (.root.Files.Get "kubernetes/base/config.yaml") -1 }}
{{- $document := fromYaml . }}
{{- if eq $document.metadata.name "gateway-settings" }}{{- $settings = $document }}{{- end }}
{{- end }}
{{- $base := toJson $settings.data }}
{{- include "breed.ConfigMap.gateway-settings" (dict "manifest" $settings "root" .root) }}
{{- if or .root.Values.apiKeys (ne (toJson $settings.data) $base) }}
{{- $sum := sha256sum (toJson (list $settings.data .root.Values.apiKeys)) }}
{{- $_ := set .manifest.spec.template.metadata "annotations" (merge (dict "checksum/settings" $sum) (.manifest.spec.template.metadata.annotations | default dict)) }}
{{- end }}
{{- end }}

{{- define "breed.Deployment.serving" -}}
{{- $values := .root.Values.serving }}
{{- $container := index .manifest.spec.template.spec.containers 0 }}
{{- $_ := set .manifest.spec "replicas" $values.replicas }}
{{- if $values.gpu }}
{{- $gpu := fromYaml (.root.Files.Get "kubernetes/overlays/gpu/serving.yaml") }}
{{- $gpuContainer := index $gpu.spec.template.spec.containers 0 }}
{{- $_ := set .manifest.spec "strategy" $gpu.spec.strategy }}
{{- $_ := set .manifest.spec.template.spec "tolerations" $gpu.spec.template.spec.tolerations }}
{{- $_ := set $container "command" $gpuContainer.command }}
{{- $_ := set $container "env" (concat $gpuContainer.env $container.env) }}
{{- $_ := set $container "resources" (mergeOverwrite $container.resources $gpuContainer.resources) }}
{{- end }}
{{- include "breed.pod" (dict "manifest" .manifest "container" $container "values" $values "root" .root) }}
{{- if $values.gpu }}{{- $_ := set $container "image" (printf "%s-gpu" $container.image) }}{{- end }}
{{- if .root.Values.storage.existingClaim }}
{{- range .manifest.spec.template.spec.volumes }}
{{- if .persistentVolumeClaim }}{{- $_ := set .persistentVolumeClaim "claimName" $.root.Values.storage.existingClaim }}{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "breed.pod" -}}
{{- $_ := set .container "image" (printf "%s:%s" .values.image.repository .values.image.tag) }}
{{- $_ := set .container "imagePullPolicy" .values.image.pullPolicy }}
{{- if .values.resources }}{{- $_ := set .container "resources" .values.resources }}{{- end }}
{{- if .root.Values.imagePullSecrets }}{{- $_ := set .manifest.spec.template.spec "imagePullSecrets" .root.Values.imagePullSecrets }}{{- end }}
{{- if not .root.Values.monitoring.annotations }}{{- $_ := unset .manifest.spec.template.metadata "annotations" }}{{- end }}
{{- end }}

{{- define "breed.Service.gateway" -}}
{{- if .root.Values.gateway.grpcPort }}
{{- $port := dict "name" "grpc" "port" .root.Values.gateway.grpcPort "targetPort" "grpc" "appProtocol" "kubernetes.io/h2c" }}
{{- $_ := set .manifest.spec "ports" (append .manifest.spec.ports $port) }}
{{- end }}
{{- end }}

{{- define "breed.HorizontalPodAutoscaler.gateway" -}}
{{- $_ := set .manifest.spec "minReplicas" .root.Values.gateway.minReplicas }}
{{- $_ := set .manifest.spec "maxReplicas" .root.Values.gateway.maxReplicas }}
{{- end }}

{{- define "breed.PersistentVolumeClaim.models" -}}
{{- $values := .root.Values.storage }}
{{- $_ := set .manifest.spec "accessModes" $values.accessModes }}
{{- $_ := set .manifest.spec.resources.requests "storage" $values.size }}
{{- if $values.storageClassName }}{{- $_ := set .manifest.spec "storageClassName" $values.storageClassName }}{{- end }}
{{- end }}

{{- define "breed.NetworkPolicy.gateway" -}}
{{- if .root.Values.gateway.grpcPort }}
{{- $_ := set .manifest.spec "ingress" (append .manifest.spec.ingress (dict "ports" (list (dict "port" .root.Values.gateway.grpcPort)))) }}
{{- end }}
{{- end }}

{{- define "breed.NetworkPolicy.serving" -}}
{{- range .manifest.spec.ingress }}{{- range .from }}{{- if .namespaceSelector }}
{{- $_ := set .namespaceSelector "matchLabels" (dict "kubernetes.io/metadata.name" $.root.Values.monitoring.namespace) }}
{{- end }}{{- end }}{{- end }}
{{- end }}
