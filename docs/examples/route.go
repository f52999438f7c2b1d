// Best is the name of the endpoint to use now; fallback if llmwatch does not answer.
func Best(url, fallback string) string {
	client := http.Client{Timeout: 200 * time.Millisecond}
	answer, err := client.Get(url)
	if err != nil {
		return fallback
	}
	defer answer.Body.Close()
	name, err := io.ReadAll(io.LimitReader(answer.Body, 256))
	if err != nil || answer.StatusCode != http.StatusOK {
		return fallback
	}
	return strings.TrimSpace(string(name))
}
