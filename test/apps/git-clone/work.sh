# Only what is stored is compared: packs, references and the tree that was checked out.
set -e
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE=@1000000000+0000 GIT_COMMITTER_DATE=@1000000000+0000
git init -q -b main origin
git -C origin fast-import --quiet < history
git clone -q --no-local --bare origin copy.git
git clone -q file://"$PWD"/copy.git clone
cd clone
git -c user.name=B -c user.email=b@example.org commit -q --allow-empty -m 'one more'
git push -q origin main
git log --format=%H | sha256sum
git -C ../copy.git -c pack.threads=2 repack -adq --depth=20 --window=10
git -C ../copy.git fsck --full --no-progress
git rev-parse HEAD && git -C ../copy.git rev-parse main
git ls-files -s | sha256sum
cd ..
rm -rf origin copy.git history clone/.git
