"""A certificate in a process of its own, with what it held."""

from benchmarks import certificates, processes


def test_a_row_says_what_was_shown_and_what_it_took(tmp_path):
    job = certificates.Job("resnet8", 2, "synthetic", 10, 1, tmp_path)
    row = certificates.certified(job, threads=1)
    assert row[:6] == ["resnet8", "2", "18", "78042", "10.7 MiB", "yes, estimated"]
    assert len(row) == len(certificates.HEADER)


def test_the_table_has_a_row_for_each_job(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(certificates, "fresh_processes", processes.this_process)
    sizes = "--train 10 --threads 1 --jobs resnet8:2 resnet8:3"
    certificates.main(["--data", "synthetic", *sizes.split(), "--output", str(tmp_path)])
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert rows[1:3] == [["resnet8", "2", "18"], ["resnet8", "3", "27"]]
