// Keeps the page live, and tells the detail of the bars. Without it the page is as good, only not live.
