const data = JSON.parse(document.getElementById("oflow-data").textContent);
const main = document.getElementById("report");
main.append(Object.assign(document.createElement("h1"), { textContent: data.meta.title }));
for (const entry of data.proof?.cycle ?? []) main.append(Object.assign(document.createElement("p"), { textContent: entry.text }));
