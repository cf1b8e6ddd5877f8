"""Makes a page that uploads as browsers do, and prints its address.

    browser.py ENDPOINT-OF-THE-PAGE ENDPOINT-OF-THE-UPLOADS
"""

import json
import sys

import boto3
from botocore.config import Config

PAGE = """<!doctype html><meta charset="utf-8"><pre id="said">nothing yet</pre>
<iframe id="frame" name="frame"></iframe>
<form id="form" method="post" enctype="multipart/form-data" target="frame"><input id="file" type="file" name="file"></form>
<script>
const given = GIVEN;
const wanted = (what, ok) => { if (!ok) throw new Error(what); };
const bytes = size => { const b = new Uint8Array(size); for (let i = 0; i < size; i++) b[i] = i * 7; return b; };
const fill = (form, fields) => Object.entries(fields).forEach(([name, value]) => form.append(name, value));

async function fetched() {
  const form = new FormData();
  fill(form, given.form.fields);
  form.append('file', new Blob([bytes(7000000)]), 'fetched.bin');
  const answer = await fetch(given.form.url, {method: 'POST', body: form});
  wanted('form ' + answer.status, answer.status === 201);
  wanted('etag of the form', /^"[0-9a-f]{32}"$/.test(answer.headers.get('etag')));
  wanted('document', (await answer.text()).includes('<Key>form/fetched.bin</Key>'));
  const outside = new FormData();
  fill(outside, {...given.form.fields, key: 'elsewhere.bin'});
  outside.append('file', new Blob(['x']), 'x');
  const refused = await fetch(given.form.url, {method: 'POST', body: outside});
  wanted('refused form ' + refused.status, refused.status === 403);
}

async function put() {
  const headers = {'content-type': 'text/plain', 'x-amz-meta-page': '2'};
  const answer = await fetch(given.put, {method: 'PUT', headers, body: 'hello world'});
  wanted('put ' + answer.status, answer.status === 200);
  const read = await fetch(given.get, {headers: {range: 'bytes=6-'}});
  wanted('get ' + read.status, read.status === 206 && await read.text() === 'world');
  wanted('hidden header', read.headers.get('x-amz-meta-page') === '2' && !read.headers.get('x-amz-request-id'));
  let blocked = false;
  await fetch(given.put, {method: 'PUT', headers: {...headers, 'x-other': '1'}, body: 'no'}).catch(() => blocked = true);
  wanted('a header that no rule allows', blocked);
}

function submitted() {
  const files = new DataTransfer();
  files.items.add(new File(['hello'], 'submitted.txt', {type: 'text/plain'}));
  const form = document.getElementById('form'), frame = document.getElementById('frame');
  for (const [name, value] of Object.entries(given.submit.fields)) {
    const field = Object.assign(document.createElement('input'), {type: 'hidden', name, value});
    form.insertBefore(field, form.firstChild);
  }
  form.action = given.submit.url;
  document.getElementById('file').files = files.files;
  return new Promise((resolve, reject) => {
    frame.onload = () => {
      const at = frame.contentWindow.location;
      const asked = new URLSearchParams(at.search);
      wanted('redirect to ' + at, at.pathname === '/pages/done.html' && asked.get('key') === 'form/submitted.txt');
      wanted('query ' + at.search, asked.get('bucket') === 'uploads' && asked.get('etag').length === 34);
      resolve();
    };
    setTimeout(() => reject(new Error('no answer to the form')), 30000);
    form.submit();
  });
}

(async () => {
  let said = 'fine';
  try { await fetched(); await put(); await submitted(); } catch (error) { said = String(error.stack || error); }
  document.getElementById('said').textContent = said;
})();
</script>"""


def main():
    pages, uploads = sys.argv[1:3]
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=uploads, config=config)
    client.create_bucket(Bucket="pages")
    client.create_bucket(Bucket="uploads")
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::pages/*"}
    client.put_bucket_policy(Bucket="pages", Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    rule = {
        "AllowedOrigins": [pages],
        "AllowedMethods": ["GET", "PUT", "POST"],
        "AllowedHeaders": ["content-type", "range", "x-amz-*"],
        "ExposeHeaders": ["ETag", "x-amz-meta-page"],
    }
    client.put_bucket_cors(Bucket="uploads", CORSConfiguration={"CORSRules": [rule]})
    fields = {"Content-Type": "image/x-test", "x-amz-meta-page": "1", "success_action_status": "201"}
    limits = [{name: value} for name, value in fields.items()] + [["content-length-range", 1, 8_000_000]]
    done = {"success_action_redirect": f"{pages}/pages/done.html"}
    given = {
        "form": client.generate_presigned_post("uploads", "form/fetched.bin", fields, limits),
        "submit": client.generate_presigned_post("uploads", "form/${filename}", done, [done]),
        "put": client.generate_presigned_url(
            "put_object",
            {"Bucket": "uploads", "Key": "put/a b+c.txt", "ContentType": "text/plain", "Metadata": {"page": "2"}},
        ),
        "get": client.generate_presigned_url("get_object", {"Bucket": "uploads", "Key": "put/a b+c.txt"}),
    }
    page = PAGE.replace("GIVEN", json.dumps(given))
    client.put_object(Bucket="pages", Key="page.html", Body=page.encode(), ContentType="text/html")
    client.put_object(Bucket="pages", Key="done.html", Body=b"<p>done", ContentType="text/html")
    print(f"{pages}/pages/page.html")


main()
