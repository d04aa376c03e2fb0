//go:build tools

// Package main keeps the Gateway API module in go.mod: its CRDs are read out of the module's folder.
package main

import _ "sigs.k8s.io/gateway-api/apis/v1"
