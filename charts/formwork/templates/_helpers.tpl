{{- define "formwork.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "formwork.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "formwork.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "formwork.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "formwork.selector" -}}
app.kubernetes.io/name: {{ include "formwork.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The pod of `helm test`. */}}
{{- define "formwork.testSelector" -}}
app.kubernetes.io/name: {{ include "formwork.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "formwork.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "formwork.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "formwork.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "formwork.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "formwork.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* No more than the ports below 1024. The program in the image has the same as a file capability: without it here it does not start. */}}
{{- define "formwork.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add: [NET_BIND_SERVICE]
{{- end }}

{{- define "formwork.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
# Once: what the server makes for itself alone stays so.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Where the store is, for every command of a pod. */}}
{{- define "formwork.storeEnv" -}}
- {name: FORMWORK_STORE, value: {{ .Values.store.kind }}}
{{- if eq .Values.store.kind "kubernetes" }}
- {name: FORMWORK_STORE_NAMESPACE, value: {{ .Values.store.namespace | quote }}}
{{- end }}
{{- end }}

{{/* What is wrong with the values together, beyond what their schema can say. */}}
{{- define "formwork.check" -}}
{{- include "formwork.checkValues" . }}
{{- $picked := list }}
{{- range $word := list "branch" "tag" "semver" "commit" }}
{{- if index $.Values.source $word }}{{ $picked = append $picked (printf "source.%s" $word) }}{{ end }}
{{- end }}
{{- if gt (len $picked) 1 }}{{ fail (printf "%s: at most one of them says what is followed" (join " and " $picked)) }}{{ end }}
{{- $metrics := .Values.metrics }}
{{- if $metrics.enabled }}
{{- range $name := list "httpPort" "apiPort" }}
{{- if eq (int $metrics.port) (int (index $.Values.network $name)) }}
{{- fail (printf "metrics.port: %d is network.%s already" (int $metrics.port) $name) }}
{{- end }}
{{- end }}
{{- else if $metrics.serviceMonitor.enabled }}
{{- fail "metrics.serviceMonitor.enabled: there is nothing to scrape without metrics.enabled" }}
{{- end }}
{{- if and (ne .Values.network.mode "hostNetwork") (not .Values.network.address) }}
{{- fail (printf "network.address: with network.mode %s, say the IPv4 address that machines reach the server at" .Values.network.mode) }}
{{- end }}
{{- if and (eq .Values.network.mode "multus") (not .Values.network.multus.definition) }}
{{- fail "network.multus.definition: say which NetworkAttachmentDefinition is the boot network, NAME or NAMESPACE/NAME" }}
{{- end }}
{{- if and (eq .Values.store.kind "kubernetes") (not .Values.store.namespace) }}
{{- fail "store.namespace: with store.kind kubernetes, name the namespace that holds the store; it is there before, and not the release's own" }}
{{- end }}
{{- /* What serves already: an upgrade moves no store, and the server would find none where it is told to look. */}}
{{- $serves := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "formwork.fullname" .) }}
{{- if and $serves (gt (int $serves.spec.replicas) 0) }}
{{- range $container := $serves.spec.template.spec.containers }}
{{- range $variable := $container.env }}
{{- if and (eq $variable.name "FORMWORK_STORE") (ne (default "" $variable.value) $.Values.store.kind) }}
{{- fail (printf "store.kind: the store of this release is %s, and no upgrade moves it; upgrade to replicas=0, move it by formwork export and import (docs/kubernetes-store.md, Into the chart), and then upgrade to store.kind %s" $variable.value $.Values.store.kind) }}
{{- end }}
{{- if and (eq $variable.name "FORMWORK_STORE_NAMESPACE") (ne (default "" $variable.value) $.Values.store.namespace) }}
{{- fail (printf "store.namespace: the store of this release is in namespace %s, and no upgrade moves it; upgrade to replicas=0, and move it by formwork export and import (docs/kubernetes-store.md, Into the chart)" $variable.value) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $ports := dict }}
{{- range $name := list "httpPort" "apiPort" }}
{{- $port := printf "%d" (int (index $.Values.network $name)) }}
{{- if hasKey $ports $port }}
{{- fail (printf "network.%s: %s is network.%s already" $name $port (get $ports $port)) }}
{{- end }}
{{- $_ := set $ports $port $name }}
{{- end }}
{{- with .Values.source.interval }}
{{- $seconds := mul (int64 (regexFind "^[0-9]+" .)) (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) (regexFind "[smhd]$" .)) }}
{{- if or (lt $seconds 5) (gt $seconds 86400) }}
{{- fail (printf "source.interval: %s is not from 5s to 1d" .) }}
{{- end }}
{{- end }}
{{- if and (eq .Values.store.kind "embedded") .Values.store.namespace }}
{{- fail "store.namespace: a store of kind embedded is a file on the volume; leave it off, or set store.kind to kubernetes" }}
{{- end }}
{{- if and .Values.network.interfaces (ne .Values.network.mode "hostNetwork") }}
{{- fail (printf "network.interfaces: with network.mode %s the interface is network.%s.interface" .Values.network.mode .Values.network.mode) }}
{{- end }}
{{- if and (eq .Values.store.kind "kubernetes") (eq .Values.store.namespace .Release.Namespace) }}
{{- fail "store.namespace: give the store a namespace of its own; in the release's the server could read every other Secret" }}
{{- end }}
{{- if gt (int .Values.replicas) 1 }}
{{- if ne .Values.store.kind "kubernetes" }}
{{- fail "replicas: several servers need a store that all can reach; set store.kind to kubernetes" }}
{{- end }}
{{- if and .Values.network.address (eq .Values.network.mode "hostNetwork") }}
{{- fail "network.address: with several replicas on their nodes' networks each has its own node's address; leave it off" }}
{{- end }}
{{- if eq .Values.network.mode "multus" }}
{{- fail "replicas: with multus there is one server, since network.address is one pod's; choose hostNetwork or relay for several" }}
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (eq .Values.network.mode "hostNetwork") }}
{{- fail "networkPolicy.enabled: no NetworkPolicy is for a pod on its node's network; leave it off, or choose another network.mode" }}
{{- end }}
{{- end }}
