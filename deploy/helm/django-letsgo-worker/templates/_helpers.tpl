{{/* What all names begin with. 30 letters of a component's name fit behind it. */}}
{{- define "letsgo.fullname" -}}
{{ .Release.Name | trunc 32 | trimSuffix "-" }}
{{- end }}

{{/* Given the chart's scope and a component: what selects its pods. */}}
{{- define "letsgo.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "letsgo.labels" -}}
{{ include "letsgo.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What the pods of the Job and of the Deployments have in common. */}}
{{- define "letsgo.pod" -}}
automountServiceAccountToken: false
# A service of our name would bring variables that look like settings.
enableServiceLinks: false
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
{{- end }}

{{/* What their containers have in common; given the arguments of manage.py, too. */}}
{{- define "letsgo.container" -}}
name: {{ .component }}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: {{- toJson .Values.manage | nindent 2 }}
args: {{- toJson .arguments | nindent 2 }}
env:
  - name: LETSGO_WORKER_DRAIN_SECONDS
    value: {{ .Values.drainSeconds | quote }}
  {{- range $name, $value := .Values.env }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
envFrom:
  - secretRef:
      name: {{ .Values.secretName }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources: {{- toYaml (.resources | default .Values.resources) | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
{{- end }}

{{/* A Deployment and its PodDisruptionBudget; given a component, its replicas and its arguments. */}}
{{- define "letsgo.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "letsgo.fullname" . }}-{{ .component }}
  labels: {{- include "letsgo.labels" . | nindent 4 }}
spec:
  replicas: {{ .replicas }}
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels: {{- include "letsgo.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "letsgo.selector" . | nindent 8 }}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: {{ .Values.monitor.port | quote }}
        prometheus.io/path: /metrics
    spec:
      {{- include "letsgo.pod" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ add .Values.drainSeconds 15 }}
      # Each on a node, and in a zone, of its own where there is another.
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "letsgo.selector" $ | nindent 14 }}
        {{- end }}
      containers:
        - {{ include "letsgo.container" . | nindent 10 | trim }}
          ports:
            - name: monitor
              containerPort: {{ .Values.monitor.port }}
          # A restart repairs no database: only readiness asks for it, and that takes up to three seconds.
          startupProbe:
            httpGet:
              path: /healthz
              port: monitor
            periodSeconds: 2
            failureThreshold: 30
          livenessProbe:
            httpGet:
              path: /healthz
              port: monitor
            periodSeconds: 10
            timeoutSeconds: 5
          readinessProbe:
            httpGet:
              path: /readyz
              port: monitor
            periodSeconds: 10
            timeoutSeconds: 5
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "letsgo.fullname" . }}-{{ .component }}
  labels: {{- include "letsgo.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "letsgo.selector" . | nindent 6 }}
{{- end }}
